"""The streams of this process and the way to those of others: create, open, stop.

Decides where a stream is looked for. Without Redis, streams are in memory: they can be read and resumed in this process
and end with it, and `state` says so. Refuses to know what the events say, who may read what (`may` is asked), and how a
stream is shown.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import StreamsConfig
from citadel_edge.errors import RedisUnavailable
from citadel_edge.groups import plain_group
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.streams.adoption import Adoption
from citadel_edge.streams.commit import Commits
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.faces import (
    Created,
    Opened,
    Orphan,
    StreamsState,
    anyone,
    log_is_away,
    other_start,
    unknown_stream,
)
from citadel_edge.streams.feed import Feed, hold_uncounted
from citadel_edge.streams.finding import Finding, Found
from citadel_edge.streams.follow import Follows
from citadel_edge.streams.infos import info_here
from citadel_edge.streams.lanes import AGAIN_S
from citadel_edge.streams.live import Live
from citadel_edge.streams.messages import Start, Taken
from citadel_edge.streams.names import SLOTS, new_epoch, slot_for, stream_id
from citadel_edge.streams.page import Page, epochs_of
from citadel_edge.streams.reader import Reader
from citadel_edge.streams.recovery import begin
from citadel_edge.streams.shelf import Shelf
from citadel_edge.streams.starts import Starts
from citadel_edge.streams.store import Store
from citadel_edge.streams.tending import Tending
from citadel_edge.streams.timing import TIMING, Timing
from citadel_edge.streams.values import Info, Once, Origin, Owner, Policy
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7


class Streams:
    """One object a process.

    Args:
        redis: the pool.
        settings: asked at the moment of use.
        group: where what is said is written; it has to outlive whoever appends. Its tasks end by themselves.
        hold: told how many bytes more (or less) streams hold in memory that no door of this process began; may raise
            RequestError OVERLOADED.
        on_orphan: handed each stream whose producer died; answers whether it goes on with it. Where it does not,
            somebody is asked again in a second. None: such a stream ends truncated.
        timing: as of all instances that share the log.

    Attributes:
        takes_over: streams of dead producers are taken at all.
    """

    def __init__(
        self,
        redis: RedisPool,
        settings: Callable[[], StreamsConfig],
        *,
        group: asyncio.TaskGroup,
        clock: Clock,
        log: FilteringBoundLogger,
        hold: Callable[[int], None] = hold_uncounted,
        on_orphan: Callable[[Orphan], Awaitable[bool]] | None = None,
        timing: Timing = TIMING,
    ) -> None:
        self.on_orphan = on_orphan
        self.takes_over = True
        self._redis = redis
        self._settings = settings
        self._group = group
        self._clock = clock
        self._salt = secrets.randbelow(SLOTS)
        self._hold = hold
        self._store = Store(redis, secrets.token_hex(6), timing)
        self._shelf = Shelf(clock)
        self._starts = Starts(clock)
        self._follows = Follows(self._store, timing, self._shelf, group=group, clock=clock, log=log)
        self._commits = Commits(self._store, settings, timing, group=group, log=log, new_epoch=new_epoch, listener=self)
        self._adoption = Adoption(
            self._store,
            self._commits,
            self._follows,
            self._shelf,
            orphan_s=timing.orphan_s,
            clock=clock,
            log=log,
            new_epoch=new_epoch,
            hold=hold,
            group=group,
        )
        self._finding = Finding(self._store, self._shelf, self._follows, away_s=timing.away_s, hold=hold)
        self._tending = Tending(
            self._store, self._commits, every_s=timing.tend_s, takes=lambda: self.takes_over, on_taken=self._taken
        )

    async def create(
        self,
        origin: Origin,
        owner: Owner,
        policy: Policy,
        *,
        once: Once | None = None,
        hold: Callable[[int], None] | None = None,
    ) -> Created:
        """Begin a stream, which is this process's to produce; with `once`, unless it began before.

        Without `once` the log hears of it with the first thing that is said; `Live.stored` waits for that.

        Args:
            origin: what another process would need to go on.
            owner: whose it is.
            policy: what becomes of it when nobody reads.
            once: a start that is to happen once; good for ten minutes.
            hold: told how many bytes more (or less) the stream holds in memory; may raise RequestError OVERLOADED.

        Raises:
            RequestError: IDEMPOTENCY_MISMATCH: the key was used for something else.
        """
        known = self._starts.find(once)
        if known is not None:
            return Created(None, known, created=False)
        unique = uuid7(self._clock)
        stream = stream_id(slot_for(once, salt=self._salt, unix_s=self._clock.unix_s()), unique)
        feed = Feed(new_epoch(), hold=hold or self._hold)
        live = Live(stream, feed, self._commits, origin=origin, owner=owner, policy=policy, clock=self._clock)
        page = Page(live, registered=False, once=once)
        if once is not None:
            known = await self._begin_once(page, once)
            if known is not None:
                return Created(None, known, created=False)
        self._shelf.add(live)
        self._commits.add(page)
        return Created(live, stream, created=True)

    async def open(self, stream: str, after: Cursor | None = None, *, may: Callable[[Owner], bool] = anyone) -> Opened:
        """Read a stream from a cursor on, or from its first event; whoever produces it, and when it is over too.

        Raises:
            RequestError: NOT_FOUND: there is no such stream, or `may` says no; NO_CAPACITY: it is another instance's
                and Redis is away.
        """
        found = await self._finding.find(stream, may)
        info = found.info
        start, recovery = begin(
            after, known=found.known, floor=info.first, last=info.cursor.seq, over=info.terminal is not None
        )
        return Opened(info, self._finding.reader(found, start, recovery.lost), recovery)

    def reader(self, live: Live) -> Reader:
        """Read a stream of one's own from its first event on."""
        return self._finding.reader(Found(live.feed, info_here(live), {}), live.feed.floor - 1)

    async def info(self, stream: str, *, may: Callable[[Owner], bool] = anyone) -> Info:
        """How a stream is. Raises as `open`."""
        return await self._finding.info(stream, may)

    async def running(self, *, may: Callable[[Owner], bool] = anyone) -> tuple[list[Info], bool]:
        """What is being produced now, by anybody; False beside it: there may be more."""
        return await self._finding.running(may)

    async def stop(self, stream: str, *, may: Callable[[Owner], bool] = anyone, within_s: float = 0.0) -> Info:
        """Ask a stream's producer to stop, wherever it is, and wait so long for the end. Raises as `open`."""
        found = await self._finding.find(stream, may)
        with self._finding.reader(found, found.info.cursor.seq) as reader:
            live = self._shelf.get(stream)
            if live is not None:
                live.ask_to_stop()
            elif found.info.terminal is None and not await self._told_to_stop(stream):
                raise unknown_stream(stream)
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    async for _batch in reader:
                        pass
        return await self.info(stream, may=may)

    async def run(self) -> None:
        """Keep what this process produces, follow what others do, take over what nobody does; until cancelled."""
        listener = self._redis.listener(self._store.channel, self._heard, self._follows.distrust)
        async with plain_group() as group:
            group.create_task(listener.run(), name="stream news")
            group.create_task(self._tending.run(), name="stream leases")
            group.create_task(self._keep_saying(), name="stream log again")
            group.create_task(self._shelf.run(lambda: self._settings().retention_s, self.ended), name="stream memory")

    def state(self) -> StreamsState:
        """How the log is at this moment."""
        late = self._commits.late
        return StreamsState(
            durable=not late,
            detail="streams are in memory only: Redis is away" if late else "streams are logged in Redis",
            running=sum(live.terminal is None for live in self._shelf),
            followed=len(self._follows),
            held_bytes=self._shelf.held_bytes + self._follows.held_bytes,
        )

    def take_no_more(self) -> None:
        """This process ends: what it has taken and nobody goes on with yet is anybody's again at once."""
        self.takes_over = False
        self._adoption.give_up()

    def ended(self, live: Live) -> None:
        """There is nothing more to say."""
        self._commits.drop(live)
        self._shelf.let_go(live)

    def deposed(self, live: Live, *, moves: bool) -> None:
        """Another process produces it: those who read here read on there, through us unless this process ends."""
        self._shelf.remove(live)
        feed = live.feed
        feed.rewind(feed.durable)
        if moves:
            self.takes_over = False
            feed.move()
        if feed.readers and not moves:
            self._follows.start(live.id, feed)
        else:
            self._shelf.part_with(feed)

    def discarded(self, live: Live) -> None:
        """It has never been."""
        self._starts.forget(live.id)

    async def _begin_once(self, page: Page, once: Once) -> str | None:
        """Tell the log; the stream that the same start began before, if one did."""
        live, asked_s = page.live, self._clock.monotonic_s()
        page.offered = True
        try:
            start = await self._store.create(live.id, page.head(), epochs_of(live.feed), once=once)
        except RedisUnavailable:
            known = self._starts.find(once)
        except BaseException:  # cancelled, and perhaps begun
            self._shelf.add(live)
            self._commits.add(page)
            live.discard()
            raise
        else:
            known = _of_same_start(start)
            if known == live.id:
                page.once = None
                page.is_registered(live.feed.lineage, asked_s)
        if known in (None, live.id):
            self._starts.note(once, live.id)
            return None
        return known

    async def _told_to_stop(self, stream: str) -> bool:
        try:
            return await self._store.stop(stream)
        except RedisUnavailable:
            raise log_is_away() from None

    def _heard(self, message: bytes) -> None:
        kind, stream = message[:1], message[1:].decode()
        live = self._shelf.get(stream)
        if kind == b"n":
            self._follows.hear(stream)
        elif live is not None and kind == b"s":
            live.ask_to_stop()
        elif live is not None:
            live.follow_elsewhere(followed=kind == b"f")

    def _taken(self, taken: Taken) -> None:
        self._adoption.begin(taken, self.on_orphan)

    async def _keep_saying(self) -> None:
        while True:
            await self._redis.wait_until_up()
            self._commits.retry()
            await asyncio.sleep(AGAIN_S)


def _of_same_start(start: Start) -> str:
    if start.stream is None:
        raise other_start()
    return start.stream
