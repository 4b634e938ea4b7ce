"""When to stop calling an upstream, and when to ask it again. A state machine and nothing else.

::

             five failures in a row
    CLOSED ──────────────────────────▶ OPEN ◀──────────┐
      ▲                                  │             │ the probe failed:
      │ the probe succeeded              │ back-off    │ longer back-off
      │                                  ▼ is over     │
      └────────────────────────────── HALF_OPEN ───────┘
                                     one probe at a time

Every call carries the stamp it was given on entering. A stamp dies with the state it was given in, so the late answer
of a call from before the trip neither closes nor feeds a breaker that has moved on; a probe that ends without a
verdict (its client left) frees the place for another, under another stamp.

Refuses to know what a failure is, what time it is, and who listens: `now` (monotonic seconds) and `rng` (a number in
[0, 1)) are arguments, and a change of state is returned, not told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

Rng = Callable[[], float]


class BreakerState(StrEnum):
    """CLOSED lets calls through, OPEN none, HALF_OPEN one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """How many failures in a row trip it, and the back-off's bounds in seconds."""

    failures: int = 5
    first_backoff_s: float = 5.0
    max_backoff_s: float = 300.0

    def backoff_s(self, trips: int, rng: Rng) -> float:
        """Equal jitter: half of the doubled step for certain, the other half by chance. `trips` counts from 1."""
        step = min(self.max_backoff_s, self.first_backoff_s * 2.0 ** min(trips - 1, 32))
        return step / 2 + rng() * step / 2


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """A change of state. `retry_at` is in monotonic seconds, while OPEN."""

    old: BreakerState
    new: BreakerState
    retry_at: float | None = None


class Breaker:
    """One breaker. Ask `admits`, then `enter`; report `succeed`, `fail` or `abandon` with the stamp, once."""

    __slots__ = ("_policy", "_probing", "_stamp", "failures", "retry_at", "state", "trips")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._stamp = 0
        self._probing = False
        self.state = BreakerState.CLOSED
        self.failures = 0
        self.trips = 0
        self.retry_at = 0.0

    def admits(self, now: float) -> bool:
        """Whether a call may enter now."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN:
            return now >= self.retry_at
        return not self._probing

    def enter(self, now: float) -> tuple[int, BreakerChange | None]:
        """Begin a call that `admits` allows: its stamp, and the change to HALF_OPEN if it is the probe."""
        if self.state is BreakerState.CLOSED:
            return self._stamp, None
        if not self.admits(now):
            raise ValueError("the breaker admits no call now: ask admits() first")
        old, self.state = self.state, BreakerState.HALF_OPEN
        self._probing = True
        self._stamp += 1
        return self._stamp, None if old is self.state else BreakerChange(old, self.state)

    def succeed(self, stamp: int) -> BreakerChange | None:
        """The call was answered."""
        if stamp != self._stamp:
            return None
        self.failures = 0
        if self.state is BreakerState.CLOSED:
            return None
        return self._become(BreakerState.CLOSED)

    def fail(self, stamp: int, *, now: float, rng: Rng) -> BreakerChange | None:
        """The call failed, and the upstream is to blame."""
        if stamp != self._stamp:
            return None
        self.failures += 1
        if self.state is BreakerState.CLOSED and self.failures < self._policy.failures:
            return None
        self.trips += 1
        self.retry_at = now + self._policy.backoff_s(self.trips, rng)
        return self._become(BreakerState.OPEN)

    def abandon(self, stamp: int) -> None:
        """The call ended without a verdict: the client left, or the upstream was only busy."""
        if stamp == self._stamp:
            self._probing = False

    def _become(self, new: BreakerState) -> BreakerChange:
        old, self.state = self.state, new
        self._probing = False
        self._stamp += 1
        if new is BreakerState.CLOSED:
            self.trips = 0
            self.failures = 0
            return BreakerChange(old, new)
        return BreakerChange(old, new, self.retry_at)
