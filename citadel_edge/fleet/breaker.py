"""When to stop calling an upstream, and when to ask it again. A state machine and nothing else.

::

             five failures in a row, or under
             80 % success of late
    CLOSED ──────────────────────────▶ OPEN ◀──────────┐
      ▲                                  │             │ the probe failed:
      │ the probe succeeded              │ back-off    │ longer back-off
      │                                  ▼ is over     │
      └────────────────────────────── HALF_OPEN ───────┘
                                     one probe at a time

Every call carries the stamp it was given on entering. A stamp dies with the state it was given in, so the late answer
of a call from before the trip neither closes nor feeds a breaker that has moved on; a probe that ends without a
verdict (its client left) frees the place for another, under another stamp. A call let in by panic carries the stamp
negated: its success closes the breaker, its failure says nothing new.

A stream's first token closes it already, as a long answer would keep a sound upstream shut until its end. From then on
the call has the stamp of the state that it made, so that one that breaks afterwards counts there as any other; and the
trips are forgotten only when a call ends well, so that an upstream which only ever begins backs off longer each time.

Refuses to know what a failure is, what time it is, who listens, and how many breakers may be open at once: `now`
(monotonic seconds), `rng` (a number in [0, 1)) and `may_trip` are arguments, and a change of state is returned, not
told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from citadel_edge.fleet.outcomes import Outcomes

Rng = Callable[[], float]


class BreakerState(StrEnum):
    """CLOSED lets calls through, OPEN none, HALF_OPEN one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """What trips it, and the back-off's bounds in seconds.

    Attributes:
        failures: so many in a row.
        success_rate: or a smaller share of successes than this among the calls of the last `window_s`, when they are
            `least_calls` at least.
    """

    failures: int = 5
    success_rate: float = 0.8
    window_s: float = 30.0
    least_calls: int = 5
    first_backoff_s: float = 5.0
    max_backoff_s: float = 300.0

    def backoff_s(self, trips: int, rng: Rng) -> float:
        """Equal jitter: half of the doubled step for certain, the other half by chance. `trips` counts from 1."""
        step = min(self.max_backoff_s, self.first_backoff_s * 2.0 ** min(trips - 1, 32))
        return step / 2 + rng() * step / 2


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """A change of state. `retry_at` is in monotonic seconds, while OPEN and not held.

    `capped`: there is no change, because too many others are open: it stays CLOSED though it should trip. Said once
    until it does well again.
    """

    old: BreakerState
    new: BreakerState
    retry_at: float | None = None
    capped: bool = False


CAPPED = BreakerChange(BreakerState.CLOSED, BreakerState.CLOSED, capped=True)


def always() -> bool:
    """Leave to trip, when nobody else has a say."""
    return True


class Breaker:
    """One breaker. Ask `admits`, then `enter`; report `succeed`, `fail` or `abandon` with the stamp, once.

    What shows life before its end may be told by `answers`, which changes the stamp.

    Attributes:
        failures: in a row, while CLOSED.
        trips: since a call last ended well.
        retry_at: monotonic seconds; from then on an OPEN one asks for its probe.
        held: an operator tripped it: OPEN until `reset`.
        source: who changed it by hand last.
    """

    __slots__ = (
        "_capped",
        "_policy",
        "_probing",
        "_recent",
        "_stamp",
        "failures",
        "held",
        "retry_at",
        "source",
        "state",
        "trips",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._stamp = 1
        self._probing = False
        self._capped = False
        self._recent = Outcomes(policy.window_s)
        self.state = BreakerState.CLOSED
        self.failures = 0
        self.trips = 0
        self.retry_at = 0.0
        self.held = False
        self.source: str | None = None

    def admits(self, now: float) -> bool:
        """Whether a call may enter now."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN:
            return now >= self.retry_at and not self.held
        return not self._probing

    def enter(self, now: float, *, panic: bool = False) -> tuple[int, BreakerChange | None]:
        """Begin a call that `admits` allows: its stamp, and the change to HALF_OPEN if it is the probe.

        `panic`: go past an open breaker, one that an operator holds excepted.
        """
        if self.state is BreakerState.CLOSED:
            return self._stamp, None
        if not self.admits(now):
            if panic and not self.held:
                return -self._stamp, None
            raise ValueError("the breaker admits no call now: ask admits() first")
        old, self.state = self.state, BreakerState.HALF_OPEN
        self._probing = True
        self._stamp += 1
        return self._stamp, None if old is self.state else BreakerChange(old, self.state)

    def answers(self, stamp: int) -> tuple[int, BreakerChange | None]:
        """The call shows its first token. Its stamp from now on, and the change, if that closes the breaker."""
        if self.state is BreakerState.CLOSED or abs(stamp) != self._stamp or self.held:
            return stamp, None
        trips = self.trips
        change = self._become(BreakerState.CLOSED)
        self.trips = trips
        return self._stamp, change

    def succeed(self, stamp: int, *, now: float) -> BreakerChange | None:
        """The call was answered."""
        if abs(stamp) != self._stamp or self.held:
            return None
        self.failures = 0
        if self.state is BreakerState.CLOSED:
            self._capped = False
            self.trips = 0
            self._recent.add(now, failed=False)
            return None
        return self._become(BreakerState.CLOSED)

    def fail(self, stamp: int, *, now: float, rng: Rng, may_trip: Callable[[], bool] = always) -> BreakerChange | None:
        """The call failed, and the upstream is to blame. `may_trip` is asked before a CLOSED one opens."""
        if stamp != self._stamp or self.held:
            return None
        if self.state is BreakerState.CLOSED:
            self.failures += 1
            self._recent.add(now, failed=True)
            if not self._should_trip(now):
                return None
            if not may_trip():
                return self._stay()
        self.trips += 1
        self.retry_at = now + self._policy.backoff_s(self.trips, rng)
        return self._become(BreakerState.OPEN)

    def abandon(self, stamp: int) -> None:
        """The call ended without a verdict: the client left, or the upstream was only busy."""
        if stamp == self._stamp:
            self._probing = False

    def trip(self, source: str) -> BreakerChange | None:
        """An operator opens it: it stays OPEN until `reset`, in a panic too."""
        held, self.source, self.held = self.held, source, True
        return None if held else self._become(BreakerState.OPEN)

    def reset(self, source: str) -> BreakerChange | None:
        """An operator closes it, whoever opened it."""
        self.source, self.held = source, False
        return None if self.state is BreakerState.CLOSED else self._become(BreakerState.CLOSED)

    def error_rate(self, now: float) -> float | None:
        """The share of failures among the calls that were judged in the window, since it closed last; None without."""
        good, bad = self._recent.counts(now)
        return bad / (good + bad) if good + bad else None

    def hurry(self, now: float) -> None:
        """The upstream answers again: the probe is due at once."""
        if self.state is BreakerState.OPEN:
            self.retry_at = min(self.retry_at, now)

    def _should_trip(self, now: float) -> bool:
        if self.failures >= self._policy.failures:
            return True
        good, bad = self._recent.counts(now)
        return good + bad >= self._policy.least_calls and good < self._policy.success_rate * (good + bad)

    def _stay(self) -> BreakerChange | None:
        said, self._capped = self._capped, True
        return None if said else CAPPED

    def _become(self, new: BreakerState) -> BreakerChange:
        old, self.state = self.state, new
        self._probing = self._capped = False
        self._stamp += 1
        if new is BreakerState.CLOSED:
            self.trips = self.failures = 0
            self._recent.clear()
            return BreakerChange(old, new)
        return BreakerChange(old, new, None if self.held else self.retry_at)
