"""A stream whose producer died becomes this process's.

Decides from which event it goes on and in which epoch: the same, unless the log may lack events that somebody has
seen. Hands it to whoever produces; where nobody does, it ends here. Refuses to know how a generation goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import RedisUnavailable
from citadel_edge.streams.commit import Commits
from citadel_edge.streams.faces import Orphan
from citadel_edge.streams.feed import Feed
from citadel_edge.streams.follow import Follows
from citadel_edge.streams.live import Live
from citadel_edge.streams.messages import Record, Taken
from citadel_edge.streams.page import Page
from citadel_edge.streams.shelf import Shelf
from citadel_edge.streams.store import Store
from citadel_edge.streams.values import State, Terminal
from citadel_edge.telemetry.clock import Clock

AT_ONCE_BYTES: Final = 2**20
OnOrphan = Callable[[Orphan], Awaitable[bool]]
_ERROR: Final = {
    "message": "the generation was lost with the instance that produced it",
    "type": "api_error",
    "param": None,
    "code": "upstream_error",
}


class Adoption:
    """Makes orphans this process's own.

    Args:
        orphan_s: a stream that nobody has gone on with after so long ends.
        new_epoch: makes names of epochs.
        hold: told what their events take in memory.
        group: where they are adopted, each by a task of its own.
    """

    def __init__(
        self,
        store: Store,
        commits: Commits,
        follows: Follows,
        shelf: Shelf,
        *,
        orphan_s: float,
        clock: Clock,
        log: FilteringBoundLogger,
        new_epoch: Callable[[], str],
        hold: Callable[[int], None],
        group: asyncio.TaskGroup,
    ) -> None:
        self._store = store
        self._commits = commits
        self._follows = follows
        self._shelf = shelf
        self._orphan_s = orphan_s
        self._clock = clock
        self._log = log
        self._new_epoch = new_epoch
        self._hold = hold
        self._group = group
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, taken: Taken, on_orphan: OnOrphan | None) -> None:
        """Adopt one."""
        task = self._group.create_task(self._adopt(taken, on_orphan), name="stream taken over")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def give_up(self) -> None:
        """Those that nobody goes on with yet are anybody's again."""
        for task in self._under_way:
            task.cancel()

    async def _adopt(self, taken: Taken, on_orphan: OnOrphan | None) -> None:
        """Hand one on. If the log cannot be read now, or nobody here goes on with it, it is anybody's again."""
        try:
            record = await self._store.look(taken.stream)
            events = [] if record is None else await self._events(taken.stream, record)
        except RedisUnavailable:
            return
        if record is None or record.terminal is not None or self._shelf.get(taken.stream) is not None:
            return
        live = self._live(taken, record)
        self._log.info("stream taken over", stream=live.id, after=record.last, alone_s=taken.alone_s)
        whole = record.first + len(events) == record.last + 1
        hopeless = not whole or taken.alone_s > self._orphan_s
        orphan = Orphan(live, live.origin, live.begun, live.reservations, events, record.first, hopeless)
        try:
            if on_orphan is not None and await self._handed_on(orphan, on_orphan):
                return
            if on_orphan is None or hopeless:
                _end(live)
            else:
                await self._commits.give_back(live)
        except asyncio.CancelledError:
            await self._commits.give_back(live, moves=True)
            raise

    async def _handed_on(self, orphan: Orphan, on_orphan: OnOrphan) -> bool:
        try:
            return await on_orphan(orphan)
        except Exception:
            self._log.exception("a stream that was taken over could not be gone on with", stream=orphan.live.id)
            return False

    async def _events(self, stream: str, record: Record) -> list[bytes]:
        """All that the log has; fewer if it has not what it says."""
        events: list[bytes] = []
        after = record.first - 1
        while after < record.last:
            part = await self._store.read(stream, after=after, enough_bytes=AT_ONCE_BYTES)
            if part is None or not part.payloads or part.start != after + 1:
                break
            events += part.payloads
            after = part.start + len(part.payloads) - 1
        return events

    def _live(self, taken: Taken, record: Record) -> Live:
        feed = self._follows.release(taken.stream) or Feed(record.epochs.now, hold=self._hold)
        _place(feed, record)
        head = record.head
        live = Live(
            taken.stream,
            feed,
            self._commits,
            origin=head.origin,
            owner=head.owner,
            policy=head.policy,
            clock=self._clock,
        )
        live.begun, live.reservations = record.begun, record.reservations
        if record.stop:
            live.stop.set()
        self._shelf.add(live)
        self._commits.add(Page(live, fence=taken.fence, registered=True, renewed_s=taken.asked_s))
        if taken.doubt:
            feed.doubt(self._new_epoch(), record.last)
            self._commits.touch(live)
        return live


def _place(feed: Feed, record: Record) -> None:
    """Behind the last event of the log. What readers here have seen beyond it, they have to be told."""
    feed.change_epoch(record.epochs.now, record.epochs.known)
    if feed.last > record.last:
        feed.rewind(record.last)
    elif feed.last < record.last:
        feed.restart(record.last + 1)
    feed.floor = record.first
    feed.durable = feed.visible = record.last


def _end(live: Live) -> None:
    if live.stop.is_set():
        live.end(Terminal(outcome=State.CANCELLED))
    else:
        live.end(Terminal(outcome=State.TRUNCATED, error=dict(_ERROR)))
