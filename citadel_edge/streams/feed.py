"""The events of one stream that this process has in memory: a window that moves on, and who waits for its end.

Decides what readers may have (`visible`), what of it is safe (`durable`), and what may be forgotten because the log has
it. A reader costs the window nothing: it keeps a number. Refuses to know where events come from and where they are kept
besides. Belongs to one event loop; nothing here waits but `changed`.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from citadel_edge.streams.values import Terminal
from citadel_edge.telemetry.clock import Clock

OVERHEAD_BYTES: Final = 64
"""What an event takes in memory besides its data."""
SLACK_BYTES: Final = 64 * 2**10
"""The window is trimmed when it is so much too large, not at every event."""


def hold_uncounted(_n_bytes: int) -> None:
    """Bytes that count to nobody."""


class Feed:
    """A window of events.

    Attributes:
        epoch: the log's.
        provisional: the epoch of events that are shown before the log has them; None while there are none.
        known: every epoch whose cursors mean events of this log, with the last event up to which they do (None: all).
        first: the number of the first event in memory.
        floor: of the first event that is anywhere.
        visible, durable: up to which event readers may read, and the log has all.
        terminal: what it ended with, once readers may know.
        readers: how many read here.
        left_s: since when nobody does (monotonic); None while somebody does.
        bytes: how much it holds.
        rewinds: up to which event it was right, each time that it was found that the log has others.
        on_readers: called when `readers` changed.
    """

    __slots__ = (
        "_clock",
        "_hold",
        "_payloads",
        "_waiting",
        "bytes",
        "durable",
        "epoch",
        "first",
        "floor",
        "known",
        "left_s",
        "on_readers",
        "provisional",
        "readers",
        "rewinds",
        "terminal",
        "visible",
    )

    def __init__(self, epoch: str, *, clock: Clock, hold: Callable[[int], None] = hold_uncounted) -> None:
        self.epoch = epoch
        self.provisional: str | None = None
        self.known: dict[str, int | None] = {epoch: None}
        self.first = self.floor = 1
        self.visible = self.durable = 0
        self.terminal: Terminal | None = None
        self.readers = 0
        self.left_s: float | None = clock.monotonic_s()
        self.bytes = 0
        self.rewinds: list[int] = []
        self.on_readers: Callable[[], None] | None = None
        self._clock = clock
        self._hold = hold
        self._payloads: list[bytes] = []
        self._waiting: dict[asyncio.Future[None], None] = {}

    @property
    def last(self) -> int:
        """The number of the last event in memory; one less than `first` if there is none."""
        return self.first + len(self._payloads) - 1

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def append(self, payload: bytes) -> int:
        """Put an event behind the others, not yet visible; its number. Raises what `hold` raises, and keeps nothing."""
        size = len(payload) + OVERHEAD_BYTES
        self._hold(size)
        self.bytes += size
        self._payloads.append(payload)
        return self.last

    def show(self, upto: int, terminal: Terminal | None = None) -> None:
        """Let readers have the events up to this one, and the end."""
        if upto <= self.visible and (terminal is None or self.terminal is not None):
            return
        self.visible = max(upto, self.visible)
        self.terminal = self.terminal or terminal
        self.wake()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self) -> None:
        """Return when there may be something new. Look before: nothing is remembered."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    def between(self, first: int, last: int, most_bytes: int) -> list[bytes]:
        """The events from `first`, which is in memory, to `last`, as many as fit; at least one."""
        start = first - self.first
        found = self._payloads[start : last - self.first + 1]
        if self.bytes <= most_bytes:
            return found
        total = 0
        for place, payload in enumerate(found):
            total += len(payload)
            if total > most_bytes and place:
                return found[:place]
        return found

    def trim(self, keep_bytes: int, upto: int) -> None:
        """Forget the oldest events, none behind `upto`, until only so many bytes are held."""
        if self.bytes <= keep_bytes + SLACK_BYTES:
            return
        count = freed = 0
        most = min(upto, self.last) - self.first + 1
        while count < most and self.bytes - freed > keep_bytes:
            freed += len(self._payloads[count]) + OVERHEAD_BYTES
            count += 1
        self._forget(count, freed)

    def forget(self) -> None:
        """Hold nothing any more; the events are in the log, or lost."""
        self._forget(len(self._payloads), self.bytes)

    def rewind(self, upto: int) -> None:
        """The log has others behind this event, or none: what is here of them was never true."""
        if upto < self.first - 1:
            self.forget()
            self.first = upto + 1
        dropped = self._payloads[upto - self.first + 1 :]
        del self._payloads[upto - self.first + 1 :]
        self._give_back(sum(len(payload) + OVERHEAD_BYTES for payload in dropped))
        self.visible = min(self.visible, upto)
        self.durable = min(self.durable, upto)
        self.rewinds.append(upto)
        self.wake()

    def restart(self, first: int) -> None:
        """Go on with this event; those in memory are forgotten."""
        self.forget()
        self.first = first
        self.visible = self.durable = first - 1

    def enter(self) -> None:
        """Somebody reads."""
        self.readers += 1
        self.left_s = None
        self._tell()

    def leave(self) -> None:
        """One reads no more."""
        self.readers -= 1
        if not self.readers:
            self.left_s = self._clock.monotonic_s()
        self._tell()

    def _tell(self) -> None:
        if self.on_readers is not None:
            self.on_readers()

    def _forget(self, count: int, freed: int) -> None:
        del self._payloads[:count]
        self.first += count
        self._give_back(freed)

    def _give_back(self, n_bytes: int) -> None:
        if n_bytes:
            self.bytes -= n_bytes
            self._hold(-n_bytes)
