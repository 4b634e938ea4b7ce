"""Telling those who wait that a place may have come free: at once when something ended, by a timer when time passes.

Decides when. Refuses to know who waits and whether there is a place for them: they look for themselves. Its one timer
is set for the next cooldown or back-off that ends, and only while somebody watches.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from citadel_edge.fleet.table import Table
from citadel_edge.telemetry.clock import Clock

_LATE_S: Final = 0.001  # so that the moment has passed when it is told


class Capacity:
    """One object a fleet."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._watchers: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher()` whenever a place may have come free."""
        self._watchers.append(watcher)

    def tell(self) -> None:
        """Something ended or turned better."""
        for watcher in self._watchers:
            watcher()

    def expect(self) -> None:
        """A cooldown or a back-off began: tell when it is over."""
        now = self._clock.monotonic_s()
        at = self._table.next_capacity_at(now)
        if not self._watchers or at >= self._rings_at:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop: nobody can be waiting
            return
        self.close()
        self._rings_at = at
        self._timer = loop.call_later(at - now + _LATE_S, self._ring)

    def close(self) -> None:
        """No timer runs any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = None, math.inf

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        self.tell()
        self.expect()
