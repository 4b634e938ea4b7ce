"""The producer's end of a stream, in the process that produces it.

Decides that an event has its number as soon as it is appended, and until when a stream may live without readers.
Refuses to know how events reach the log, and what its producer does about what it is told.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.feed import Feed
from citadel_edge.streams.values import Begun, OnDisconnect, Origin, Owner, Policy, State, Terminal
from citadel_edge.telemetry.clock import Clock

FIRST_READER_S: Final = 60.0
"""So long a stream that lives with its readers waits for the first."""


class Journal(Protocol):
    """Who brings what a stream says to the log."""

    def touch(self, live: "Live") -> None:
        """It has something new."""

    def keeps(self, live: "Live") -> bool:
        """Whether the log knows of it, and answers in time."""

    def crowded(self, live: "Live") -> bool:
        """Whether very much of it is on its way."""

    async def room(self, live: "Live") -> None:
        """Return when not."""

    async def stored(self, live: "Live") -> None:
        """Return when the log has all that was said, or takes too long."""

    async def confirm(self, live: "Live") -> bool:
        """Whether it is still produced here, as far as anybody can say."""

    def discard(self, live: "Live") -> None:
        """It was never there."""

    async def let_go(self, live: "Live") -> None:
        """Another process is to go on with it."""


class Live:
    """One stream, appended to by one task. What is said goes to the log by itself; `room` is the back-pressure.

    Attributes:
        stop: somebody asked to stop, or the stream is another's by now (`deposed`).
        deposed: nothing that is said here counts any more.
        begun, reservations, terminal: what was said so far.
        elsewhere: somebody reads it in another instance.
    """

    def __init__(
        self,
        stream: str,
        feed: Feed,
        journal: Journal,
        *,
        origin: Origin,
        owner: Owner,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self.id = stream
        self.feed = feed
        self.origin = origin
        self.owner = owner
        self.policy = policy
        self.stop = asyncio.Event()
        self.deposed = False
        self.begun: Begun | None = None
        self.reservations: tuple[str, ...] = ()
        self.terminal: Terminal | None = None
        self.elsewhere = False
        self._journal = journal
        self._clock = clock
        self._alone_s = clock.monotonic_s()
        self._read = False
        self._watcher: Callable[[], None] | None = None
        feed.on_readers = self._note_readers

    @property
    def cursor(self) -> Cursor:
        """After the last event that was appended."""
        return Cursor(self.feed.epoch, self.feed.last)

    @property
    def state(self) -> State:
        """RUNNING until `end`."""
        return State.RUNNING if self.terminal is None else self.terminal.outcome

    @property
    def durable(self) -> bool:
        """Whether the log has everything that readers have."""
        return self.feed.visible <= self.feed.durable

    @property
    def outlives_us(self) -> bool:
        """Whether another process could go on with it: the log has it, and is at hand for what it has not yet."""
        return self.durable and self._journal.keeps(self)

    @property
    def readers(self) -> int:
        """How many read it here; all those in other instances count as one."""
        return self.feed.readers + self.elsewhere

    @property
    def forsaken_at(self) -> float | None:
        """When, by its policy, nobody cares for it any more if nobody comes (monotonic seconds); None: not as it is."""
        if self.readers or self.policy.on_disconnect is OnDisconnect.FINISH:
            return None
        if self.policy.on_disconnect is OnDisconnect.GRACE:
            return self._alone_s + self.policy.grace_s
        return self._alone_s if self._read else self._alone_s + FIRST_READER_S

    @property
    def crowded(self) -> bool:
        """Whether the producer should wait for `room` before it says more."""
        return self._journal.crowded(self)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call it whenever readers come or go, somebody asks to stop, or the stream is another's by now."""
        self._watcher = watcher

    def append(self, payload: bytes) -> int:
        """Say one event; its number. Raises as `extend`."""
        self.extend((payload,))
        return self.feed.last

    def extend(self, payloads: Sequence[bytes]) -> None:
        """Say events.

        Raises:
            RequestError: OVERLOADED, the listener may not hold more; none was appended.
        """
        if self.terminal is not None:
            raise RuntimeError("an event after the stream's end")
        if not self.deposed:
            self.feed.extend(payloads, self._clock.monotonic_s())
            self._journal.touch(self)

    async def room(self) -> None:
        """Wait while too much is on its way to the log; hardly ever for longer than 50 ms."""
        await self._journal.room(self)

    def reserved(self, ids: tuple[str, ...]) -> None:
        """What limits have reserved for it, all of it; whoever goes on with the stream gives it back."""
        self.reservations = ids
        self._touch()

    def begin(self, begun: Begun) -> None:
        """Say what is known once an upstream answers. A second time replaces it: another replica goes on."""
        self.begun = begun
        self._touch()

    def end(self, terminal: Terminal) -> None:
        """The one last record. A second one is not heard."""
        if self.terminal is None:
            self.terminal = terminal
            self._touch()

    async def stored(self) -> None:
        """Return when the log knows of it and of all that was said; hardly ever later than 50 ms."""
        await self._journal.stored(self)

    async def confirm(self) -> bool:
        """Whether it is still this process's to produce; asks the log if that is in doubt. True while that is away."""
        return not self.deposed and await self._journal.confirm(self)

    def discard(self) -> None:
        """It failed before anybody was promised anything: it, and its start under a key, have never been.

        Whoever reads it all the same gets an error for its end.
        """
        if self.terminal is None:
            self.terminal = Terminal(outcome=State.ERROR)
            self._journal.discard(self)

    async def let_go(self) -> None:
        """This process ends: leave the stream to another. What is said here from now on does not count."""
        await self._journal.let_go(self)

    def ask_to_stop(self) -> None:
        """Somebody wants it to stop."""
        if not self.stop.is_set():
            self.stop.set()
            self._tell()

    def depose(self) -> None:
        """Another process produces it from now on."""
        self.deposed = True
        self.stop.set()
        self._tell()

    def follow_elsewhere(self, *, followed: bool) -> None:
        """Somebody reads it in another instance, or does no more."""
        if followed != self.elsewhere:
            self.elsewhere = followed
            self._note_readers()

    def _touch(self) -> None:
        if not self.deposed:
            self._journal.touch(self)

    def _note_readers(self) -> None:
        if self.readers:
            self._read = True
        else:
            self._alone_s = self._clock.monotonic_s()
        self._tell()

    def _tell(self) -> None:
        if self._watcher is not None:
            self._watcher()
