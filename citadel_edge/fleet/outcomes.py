"""How many calls went well and how many did not, over the last so many seconds. Counts in ten slices of time.

Decides nothing. Refuses to know the clock: `now` is monotonic seconds, and does not go back.
"""

from typing import Final

_SLICES: Final = 10


class Outcomes:
    """Good and bad over a sliding window, exact to a tenth of it."""

    __slots__ = ("_bad", "_good", "_newest", "_slice_s")

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / _SLICES
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._good = [0] * _SLICES
        self._bad = [0] * _SLICES
        self._newest = 0

    def add(self, now: float, *, failed: bool) -> None:
        """One more."""
        newest = int(now // self._slice_s)
        if newest != self._newest:
            self._turn(newest)
        (self._bad if failed else self._good)[newest % _SLICES] += 1

    def counts(self, now: float) -> tuple[int, int]:
        """Good and bad of late."""
        self._turn(int(now // self._slice_s))
        return sum(self._good), sum(self._bad)

    def _turn(self, newest: int) -> None:
        """Empty the slices that the window has left."""
        for slice_ in range(max(self._newest + 1, newest - _SLICES + 1), newest + 1):
            self._good[slice_ % _SLICES] = self._bad[slice_ % _SLICES] = 0
        self._newest = max(self._newest, newest)
