"""Which call of a replica has waited longest beyond what it was predicted to take.

Looking costs the same for one call in flight as for a thousand. Decides nothing. Refuses to know the clock: times are
monotonic seconds.
"""

import math
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

_SPARE: Final = 32


class Awaited(Protocol):
    """A call that may still owe its first token."""

    open: bool
    first_token_at: float | None


class Overdue:
    """The calls that owe a first token, by when it was due. Those that owe nothing more are dropped when met."""

    __slots__ = ("_calls", "_keep", "_turn")

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Awaited]] = []
        self._turn = 0
        self._keep = _SPARE

    def add(self, call: Awaited, due: float) -> None:
        """A call whose first token (or whole answer) is expected by `due`."""
        self._turn += 1
        heappush(self._calls, (due, self._turn, call))
        if len(self._calls) > self._keep:
            self._sweep()

    def since(self) -> float:
        """When the first of those that still owe was due; inf when none does."""
        calls = self._calls
        while calls:
            due, _, call = calls[0]
            if call.open and call.first_token_at is None:
                return due
            heappop(calls)
        return math.inf

    def _sweep(self) -> None:
        self._calls = [one for one in self._calls if one[2].open and one[2].first_token_at is None]
        heapify(self._calls)
        self._keep = 2 * len(self._calls) + _SPARE
