"""The events of one stream that this process has in memory: a window that moves on, and who waits for its end.

Decides what readers may have (`visible`), what of it is safe (`durable`), and what may be forgotten because the log has
it. A reader costs the window nothing: it keeps a number. Knows which cursors are good: of the present epoch, of those
before it that counted the same events, and of the provisional one while events are shown that the log has not. Refuses
to know where events come from and where they are kept besides. Belongs to one event loop; only `changed` waits.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from citadel_edge.errors import RequestError
from citadel_edge.streams.values import Terminal

OVERHEAD_BYTES: Final = 64
"""What an event takes in memory besides its data."""
SLACK_BYTES: Final = 64 * 2**10
"""The window is trimmed when it is so much too large, not at every event."""
TAIL_BYTES: Final = 256 * 2**10
"""What is kept in memory of a stream although the log has it, for readers that keep up."""
MOST_EPOCHS: Final = 16
"""So many earlier epochs are remembered; cursors of older ones are foreign."""


def hold_uncounted(_n_bytes: int) -> None:
    """Bytes that count to nobody."""


class Feed:
    """A window of events.

    Attributes:
        epoch: the log's.
        known: the epochs of the log, this and earlier ones, with the last event up to which their cursors mean events
            of it (None: all).
        lineage: counts the changes of these.
        provisional: the epoch of events that are shown before the log has them; None while there are none.
        first: the number of the first event in memory.
        floor: of the first event that is anywhere.
        visible, durable: up to which event readers may read, and the log has all.
        terminal: what it ended with, once readers may know.
        readers: how many read here.
        bytes: how much it holds.
        rewinds: up to which event it was right, each time that it was found that the log has others.
        failure: why there will be no more here, if something other than the end is why.
        moved: this process ends, and the stream goes on elsewhere.
        on_readers: called when `readers` changed.
        on_wanted: called when somebody begins to wait.
    """

    __slots__ = (
        "_came_s",
        "_hold",
        "_loop",
        "_payloads",
        "_waiting",
        "bytes",
        "durable",
        "epoch",
        "failure",
        "first",
        "floor",
        "known",
        "lineage",
        "moved",
        "on_readers",
        "on_wanted",
        "provisional",
        "readers",
        "rewinds",
        "terminal",
        "visible",
    )

    def __init__(self, epoch: str, *, hold: Callable[[int], None] = hold_uncounted) -> None:
        self.epoch = epoch
        self.provisional: str | None = None
        self.known: dict[str, int | None] = {epoch: None}
        self.lineage = 0
        self.first = self.floor = 1
        self.visible = self.durable = 0
        self.terminal: Terminal | None = None
        self.readers = 0
        self.moved = False
        self.bytes = 0
        self.rewinds: list[int] = []
        self.failure: Callable[[], RequestError] | None = None
        self.on_readers: Callable[[], None] | None = None
        self.on_wanted: Callable[[], None] | None = None
        self._hold = hold
        self._loop = asyncio.get_running_loop()
        self._payloads: list[bytes] = []
        self._came_s: list[float | None] = []
        self._waiting: dict[asyncio.Future[None], Callable[[], bool] | None] = {}

    @property
    def last(self) -> int:
        """The number of the last event in memory; one less than `first` if there is none."""
        return self.first + len(self._payloads) - 1

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def extend(self, payloads: Sequence[bytes], came_s: float | None = None) -> None:
        """Put events behind the others, not yet visible. Raises what `hold` raises, and keeps none."""
        count = len(payloads)
        size = sum(map(len, payloads)) + OVERHEAD_BYTES * count
        self._hold(size)
        self.bytes += size
        self._payloads += payloads
        self._came_s += (came_s,) * count

    def show(self, upto: int, terminal: Terminal | None = None) -> bool:
        """Let readers have the events up to this one, and the end; whether any of it is new to them."""
        if upto <= self.visible and (terminal is None or self.terminal is not None):
            return False
        self.visible = max(upto, self.visible)
        self.terminal = self.terminal or terminal
        self.wake()
        return True

    def show_early(self, terminal: Terminal | None, new_epoch: Callable[[], str]) -> None:
        """Let readers have everything, though the log has not."""
        if self.provisional is None and self.durable < self.last:
            self.provisional = new_epoch()
        self.show(self.last, terminal)

    def settle(self) -> None:
        """The log has everything that was shown: what was provisional is an epoch like others."""
        if self.provisional is not None and self.visible <= self.durable:
            self.known[self.provisional] = self.visible
            self.provisional = None
            self._note_lineage()

    def change_epoch(self, epoch: str, known: Mapping[str, int | None]) -> None:
        """From now on events are counted in another epoch; those `known` besides are good as told."""
        self.epoch = epoch
        self.known = {**known, epoch: None}
        self._note_lineage()

    def doubt(self, epoch: str, upto: int) -> None:
        """From now on events are counted in another epoch; of those before, cursors are good up to this event."""
        self.change_epoch(epoch, {name: _lesser(upto, most) for name, most in self.known.items()})

    def cursors(self) -> dict[str, int | None]:
        """Every epoch whose cursors are good here, with the last event up to which they are (None: all)."""
        return self.known if self.provisional is None else {**self.known, self.provisional: self.visible}

    def wake(self) -> None:
        """Let everybody who waits look again."""
        for waiter, at_once in list(self._waiting.items()):
            if waiter.done() or (at_once is not None and at_once()):
                continue
            self._waiting.pop(waiter, None)
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self, at_once: Callable[[], bool] | None = None) -> None:
        """Return when there may be something new. Look before: nothing is remembered.

        `at_once` looks first, in the very turn; while it says that it has seen to it, waiting goes on. It raises
        nothing.
        """
        waiter = self._loop.create_future()
        self._waiting[waiter] = at_once
        if self.on_wanted is not None:
            self.on_wanted()
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    def came_s(self, seq: int) -> float | None:
        """When an event was said (monotonic); None: elsewhere, or long ago."""
        return self._came_s[seq - self.first] if self.first <= seq <= self.last else None

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
        del self._payloads[upto - self.first + 1 :], self._came_s[upto - self.first + 1 :]
        self._give_back(sum(len(payload) + OVERHEAD_BYTES for payload in dropped))
        self.visible = min(self.visible, upto)
        self.durable = min(self.durable, upto)
        self.provisional = None
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
        self._tell()

    def leave(self) -> None:
        """One reads no more."""
        self.readers -= 1
        self._tell()

    def move(self) -> None:
        """Whoever reads is to read on elsewhere, behind what the log has."""
        self.moved = True
        self.wake()

    def fail(self, failure: Callable[[], RequestError]) -> None:
        """There will be nothing more here."""
        self.failure = failure
        self.wake()

    def _note_lineage(self) -> None:
        self.lineage += 1
        while len(self.known) > MOST_EPOCHS:
            del self.known[next(name for name in self.known if name != self.epoch)]

    def _tell(self) -> None:
        if self.on_readers is not None:
            self.on_readers()

    def _forget(self, count: int, freed: int) -> None:
        del self._payloads[:count], self._came_s[:count]
        self.first += count
        self._give_back(freed)

    def _give_back(self, n_bytes: int) -> None:
        if n_bytes:
            self.bytes -= n_bytes
            self._hold(-n_bytes)


def _lesser(upto: int, most: int | None) -> int:
    return upto if most is None else min(upto, most)
