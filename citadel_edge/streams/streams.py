"""The streams of this process and the way to those of others: create, open, stop.

Decides where a stream is looked for, and what becomes of a cursor. Refuses to know what the events say, who may read
what (`may` is asked), and how a stream is shown.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import StreamsConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.streams.cursor import EPOCH_ALPHABET, EPOCH_CHARS, Cursor, epoch_of
from citadel_edge.streams.feed import Feed, hold_uncounted
from citadel_edge.streams.live import Live
from citadel_edge.streams.names import slot_for, stream_id
from citadel_edge.streams.reader import Reader, nothing_older
from citadel_edge.streams.values import Begun, Info, Once, Origin, Owner, Policy, Recovered, Recovery
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

_EPOCHS: Final = len(EPOCH_ALPHABET) ** EPOCH_CHARS


class Created(Struct, frozen=True):
    """A start. `live` is None when the stream was there already (`created` is False): somebody else produces it."""

    live: Live | None
    id: str
    created: bool


class Opened(Struct, frozen=True):
    """A stream to be read. Leaving the context closes the reader."""

    info: Info
    reader: Reader
    recovery: Recovery

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reader.close()


class Orphan(Struct, frozen=True):
    """A stream whose producer died, now this process's: whoever is handed it goes on with `live`, or ends it.

    Attributes:
        live: appends behind the events there are; its `stop` is set if somebody asked to stop meanwhile.
        begun: what was known of it; None: no upstream had begun to answer.
        events: from `first` on.
        first: 1, unless the oldest events were let go.
    """

    live: Live
    origin: Origin
    begun: Begun | None
    events: list[bytes]
    first: int


class StreamsState(Struct, frozen=True):
    """How the log is, for health. `running` are produced here; `held_bytes` lie in this process's memory."""

    durable: bool
    detail: str
    running: int
    followed: int
    held_bytes: int


def anyone(_owner: Owner) -> bool:
    """Lets everybody."""
    return True


def unknown_stream(stream: str) -> RequestError:
    """There is none, or it is another's: which of both is nobody's business."""
    return RequestError(Code.NOT_FOUND, f"there is no stream {stream[:64]!r}: it never was, or its time is over")


class Streams:
    """One object a process.

    Args:
        redis: the pool.
        settings: asked at the moment of use.
        group: where commits run; it has to outlive whoever appends.
        on_orphan: handed each stream whose producer died, in a task of its own; None: such a stream ends truncated.
    """

    def __init__(
        self,
        redis: RedisPool,
        settings: Callable[[], StreamsConfig],
        *,
        group: asyncio.TaskGroup,
        clock: Clock,
        log: FilteringBoundLogger,
        on_orphan: Callable[[Orphan], Awaitable[None]] | None = None,
    ) -> None:
        self.on_orphan = on_orphan
        self._redis = redis
        self._settings = settings
        self._group = group
        self._clock = clock
        self._log = log
        self._lives: dict[str, Live] = {}

    async def create(
        self,
        origin: Origin,
        owner: Owner,
        policy: Policy,
        *,
        once: Once | None = None,
        hold: Callable[[int], None] = hold_uncounted,
    ) -> Created:
        """Begin a stream, which is this process's to produce; with `once`, unless it began before.

        Args:
            origin: what another process would need to go on.
            owner: whose it is.
            policy: what becomes of it when nobody reads.
            once: a start that is to happen once; good for ten minutes.
            hold: told how many bytes more (or less) the stream holds in memory; may raise RequestError OVERLOADED.

        Raises:
            RequestError: IDEMPOTENCY_MISMATCH: the key was used for something else.
        """
        unique = uuid7(self._clock)
        stream = stream_id(slot_for(unique, once), unique)
        feed = Feed(epoch_of(secrets.randbelow(_EPOCHS)), clock=self._clock, hold=hold)
        live = Live(stream, feed, self, origin=origin, owner=owner, policy=policy, clock=self._clock)
        self._lives[stream] = live
        return Created(live, stream, created=True)

    async def open(self, stream: str, after: Cursor | None = None, *, may: Callable[[Owner], bool] = anyone) -> Opened:
        """Read a stream from a cursor on, or from its first event; whoever produces it, and when it is over too.

        Raises:
            RequestError: NOT_FOUND: there is no such stream, or `may` says no; NO_CAPACITY: it is another instance's
                and Redis is away.
        """
        live = self._live(stream, may)
        start, recovery = _start(live.feed, after)
        reader = Reader(live.feed, nothing_older, after=start, lost=recovery.lost)
        return Opened(self._info(live), reader, recovery)

    async def info(self, stream: str, *, may: Callable[[Owner], bool] = anyone) -> Info:
        """How a stream is. Raises as `open`."""
        return self._info(self._live(stream, may))

    async def stop(self, stream: str, *, may: Callable[[Owner], bool] = anyone, within_s: float = 0.0) -> Info:
        """Ask a stream's producer to stop, wherever it is, and wait so long for the end. Raises as `open`."""
        live = self._live(stream, may)
        live.stop.set()
        with Reader(live.feed, nothing_older, after=live.feed.last) as reader:
            try:
                async with asyncio.timeout(within_s):
                    async for _batch in reader:
                        pass
            except TimeoutError:
                pass
        return self._info(live)

    async def run(self) -> None:
        """Keep what this process produces, take over what nobody does; until cancelled."""
        await asyncio.Event().wait()

    def state(self) -> StreamsState:
        """How the log is at this moment."""
        held = sum(live.feed.bytes for live in self._lives.values())
        return StreamsState(
            durable=False, detail="streams are in memory", running=len(self._lives), followed=0, held_bytes=held
        )

    def touch(self, live: Live) -> None:
        """It has something new."""
        live.feed.show(live.feed.last, live.terminal)

    async def room(self, live: Live) -> None:
        """Return when not too much of it is on its way."""

    def _live(self, stream: str, may: Callable[[Owner], bool]) -> Live:
        live = self._lives.get(stream)
        if live is None or not may(live.owner):
            raise unknown_stream(stream)
        return live

    def _info(self, live: Live) -> Info:
        feed = live.feed
        return Info(
            id=live.id,
            owner=live.owner,
            policy=live.policy,
            state=live.state,
            first=feed.floor,
            cursor=Cursor(feed.epoch, feed.visible),
            durable=live.durable,
            created_unix_s=live.origin.created_unix_s,
            here=True,
            readers=feed.readers,
            origin=live.origin,
            begun=live.begun,
            terminal=live.terminal,
        )


def _start(feed: Feed, after: Cursor | None) -> tuple[int, Recovery]:
    """After which event reading begins, and what became of the cursor."""
    before = feed.floor - 1
    if after is None:
        lost = (1, before) if before else None
        return before, Recovery(Recovered.FULL if lost is None else Recovered.NONE, lost)
    bound = feed.known.get(after.epoch, -1)
    if after.seq > (feed.visible if bound is None else min(bound, feed.visible)):
        return before, Recovery(Recovered.NONE)
    if after.seq < before:
        return before, Recovery(Recovered.NONE, (after.seq + 1, before))
    return after.seq, Recovery(Recovered.FULL)
