"""Virtual time: what happens next, and nothing in between."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any


class World:
    """A heap of things to come. `now` is in seconds and moves only while `run` runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._coming: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def after(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        """Let `what(*args)` happen in so many seconds."""
        heappush(self._coming, (self.now + seconds, next(self._order), what, args))

    def run(self, until: float) -> None:
        """Let everything happen that is due before `until`."""
        coming = self._coming
        while coming and coming[0][0] <= until:
            self.now, _, what, args = heappop(coming)
            what(*args)
        self.now = until
