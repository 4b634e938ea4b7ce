"""The producer's end of a stream, in the process that produces it.

Decides that an event has its number as soon as it is appended, that a producer waits only while very much of what it
said is on its way to the log, and when a stream counts as forsaken. Refuses to know how events reach the log.
"""

import asyncio
from typing import Final, Protocol

from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.feed import Feed
from citadel_edge.streams.values import Begun, OnDisconnect, Origin, Owner, Policy, State, Terminal
from citadel_edge.telemetry.clock import Clock

UNCOMMITTED_BYTES: Final = 2**20
"""So much may be on its way to the log before a producer has to wait."""
FIRST_READER_S: Final = 10.0
"""So long a stream that lives with its readers waits for the first."""


class Journal(Protocol):
    """Who brings what a stream says to the log."""

    def touch(self, live: "Live") -> None:
        """It has something new."""

    async def room(self, live: "Live") -> None:
        """Return when not too much of it is on its way."""


class Live:
    """One stream, appended to by one task. `append`, `begin` and `end` never wait; `room` is the back-pressure.

    Attributes:
        stop: somebody asked to stop, or another instance has taken the stream over (`deposed`).
        deposed: nothing that is said here counts any more.
        begun, terminal: what was said so far.
        elsewhere: somebody reads it in another instance.
        created_unix_s: when it began.
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
        self.terminal: Terminal | None = None
        self.elsewhere = False
        self._left_elsewhere_s: float | None = None
        self._journal = journal
        self._clock = clock
        self._born_s = clock.monotonic_s()
        self._read = False
        self._readers_changed = asyncio.Event()
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
    def readers(self) -> int:
        """How many read it here; all those in other instances count as one."""
        return self.feed.readers + self.elsewhere

    @property
    def left_at(self) -> float | None:
        """Since when nobody reads it (monotonic seconds); None while somebody does, or nobody ever did."""
        if self.readers or not self._read:
            return None
        return max(self.feed.left_s or self._born_s, self._left_elsewhere_s or self._born_s)

    def append(self, payload: bytes) -> int:
        """Say one event; its number.

        Raises:
            RequestError: OVERLOADED, the listener may not hold more; nothing was appended.
        """
        if self.terminal is not None:
            raise RuntimeError("an event after the stream's end")
        if self.deposed:
            return self.feed.last
        seq = self.feed.append(payload)
        self._journal.touch(self)
        return seq

    async def room(self) -> None:
        """Wait while too much is on its way to the log; hardly ever for longer than 50 ms."""
        await self._journal.room(self)

    def begin(self, begun: Begun) -> None:
        """Say what is known once an upstream answers. A second time replaces it: another replica goes on."""
        self.begun = begun
        if not self.deposed:
            self._journal.touch(self)

    def end(self, terminal: Terminal) -> None:
        """The one last record. A second one is not heard."""
        if self.terminal is not None:
            return
        self.terminal = terminal
        if not self.deposed:
            self._journal.touch(self)

    async def abandoned(self) -> None:
        """Return when, by its policy, nobody cares for the stream any more. May be waited for with a timeout."""
        while True:
            due_s = self._forsaken_at()
            left_s = None if due_s is None else due_s - self._clock.monotonic_s()
            if left_s is not None and left_s <= 0:
                return
            self._readers_changed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._readers_changed.wait()
            except TimeoutError:
                continue

    def follow_elsewhere(self, *, followed: bool) -> None:
        """Somebody reads it in another instance, or does no more."""
        if followed != self.elsewhere:
            self.elsewhere = followed
            self._left_elsewhere_s = None if followed else self._clock.monotonic_s()
            self._note_readers()

    def _forsaken_at(self) -> float | None:
        """When its time is over if nobody comes; None: not in this situation."""
        if self.readers or self.policy.on_disconnect is OnDisconnect.FINISH:
            return None
        if self.policy.on_disconnect is OnDisconnect.GRACE:
            return (self.left_at or self._born_s) + self.policy.grace_s
        return self.left_at if self._read else self._born_s + FIRST_READER_S

    def _note_readers(self) -> None:
        self._read = self._read or self.readers > 0
        self._readers_changed.set()
