"""Shows an outage for as long as a reader of health needs to see it, however short it was.

A database that is restarted within a blink would otherwise leave no trace between two looks.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from citadel_edge.health.verdict import Check, Condition
from citadel_edge.storage.state import DependencyState, Status
from citadel_edge.telemetry.clock import Clock

SHOWN_FOR_S: Final = 1.0
_CONDITIONS: Final = {Status.UP: Condition.UP, Status.DOWN: Condition.DOWN, Status.UNKNOWN: Condition.UNKNOWN}


class Lingering:
    """A probe over a pool's `check`: down while it is away, and a second longer."""

    def __init__(self, check: Callable[[], Awaitable[DependencyState]], clock: Clock) -> None:
        self._check = check
        self._clock = clock
        self._outages = 0
        self._until_s = 0.0

    async def __call__(self) -> Check:
        """What there is to show now."""
        state = await self._check()
        now_s = self._clock.monotonic_s()
        if state.outages > self._outages:
            self._outages, self._until_s = state.outages, now_s + SHOWN_FOR_S
        latency_ms = None if state.latency_ms is None else round(state.latency_ms, 3)
        if state.status is Status.UP and now_s < self._until_s:
            return Check(Condition.DOWN, f"was away a moment ago; now {state.detail}", latency_ms)
        return Check(_CONDITIONS[state.status], state.detail, latency_ms)
