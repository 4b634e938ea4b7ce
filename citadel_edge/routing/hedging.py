"""When a second replica is asked because the first is slow, and how often at most.

Delayed hedging as in "The Tail at Scale" (Dean, Barroso, 2013): a second call is made once the first has been silent
for as long as 95 of 100 calls take, which bounds the added load to about 5 %; a budget bounds it for certain when all
calls turn slow at once. How long calls take is learned here, per model, and apart for streams, whose first byte comes
with the first token, and whole answers, whose first byte comes with the last.

Decides the delay and whether a hedge may be made. Refuses to know who is called, which call wins and what time it is.
"""

import math
from typing import Final

QUANTILE: Final = 0.95
MIN_SEEN: Final = 20
MAX_KNOWN: Final = 512

_SHORTEST_S: Final = 0.001
_STEP: Final = math.log(1.1)
_BUCKETS: Final = 146  # up to 1000 s
_MEMORY: Final = 1000.0
_RESCALE_AT: Final = 1e9
_PARTS: Final = 1_000_000
_MAX_SAVED: Final = 10


class Quantile:
    """One quantile of durations, of late: a histogram of logarithmic buckets whose old counts fade.

    Buckets are 10 % wide, from 1 ms to 1000 s; within one, durations are taken as evenly spread in their logarithm.
    Fading is by number, not by age: an observation weighs 1/e after a thousand others. Instead of fading the old, each
    new one weighs more (forward decay: Cormode et al., ICDE 2009). The bucket that holds the quantile is followed as
    counts change, so that observing and asking cost O(1).

    Attributes:
        seen: how many durations were observed.
    """

    __slots__ = ("_at", "_below", "_quantile", "_total", "_weight", "_weights", "seen")

    def __init__(self, quantile: float = QUANTILE) -> None:
        self.seen = 0
        self._quantile = quantile
        self._weights = [0.0] * _BUCKETS
        self._weight = 1.0
        self._total = 0.0
        self._at = 0  # the bucket that holds the quantile …
        self._below = 0.0  # … and what lies in those before it

    def observe(self, seconds: float) -> None:
        """One duration."""
        bucket = _bucket_of(seconds)
        self.seen += 1
        self._weights[bucket] += self._weight
        self._total += self._weight
        if bucket < self._at:
            self._below += self._weight
        self._follow()
        self._weight *= 1 + 1 / _MEMORY
        if self._weight > _RESCALE_AT:
            self._rescale()

    def value_s(self) -> float | None:
        """The quantile in seconds; None before anything was observed."""
        if not self.seen:
            return None
        inside = (self._quantile * self._total - self._below) / self._weights[self._at]
        return _SHORTEST_S * math.exp(_STEP * (self._at + min(max(inside, 0.0), 1.0)))

    def _follow(self) -> None:
        weights, target = self._weights, self._quantile * self._total
        while self._below > target and self._at > 0:
            self._at -= 1
            self._below -= weights[self._at]
        while self._below + weights[self._at] < target and self._at < _BUCKETS - 1:
            self._below += weights[self._at]
            self._at += 1

    def _rescale(self) -> None:
        """The same proportions in small numbers, before large ones lose digits."""
        self._weights = [weight / self._weight for weight in self._weights]
        self._weight = 1.0
        self._total = math.fsum(self._weights)
        self._below = math.fsum(self._weights[: self._at])
        self._follow()


class HedgeDelay:
    """How long to wait for the first byte before a second replica is asked. Of too many models the oldest goes."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], Quantile] = {}

    def observe(self, model: str, seconds: float, *, stream: bool) -> None:
        """A call's first byte came so many seconds after the call was made."""
        known = self._known.get((model, stream))
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            known = self._known[model, stream] = Quantile()
        known.observe(seconds)

    def delay_s(self, model: str, *, stream: bool) -> float | None:
        """Seconds; None while fewer than 20 first bytes were seen."""
        known = self._known.get((model, stream))
        if known is None or known.seen < MIN_SEEN:
            return None
        return known.value_s()


class HedgeBudget:
    """Hedges are at most `share` of the requests, ever; not more than ten are saved up for a bad moment."""

    __slots__ = ("_parts", "_share")

    def __init__(self, share: float) -> None:
        self._parts = 0
        self.resize(share)

    def resize(self, share: float) -> None:
        """Another share from now on, in [0, 1]."""
        if not 0 <= share <= 1:
            raise ValueError(f"hedges are a share of the requests, between 0 and 1, not {share}")
        self._share = round(share * _PARTS)

    def deposit(self) -> None:
        """A request came."""
        self._parts = min(self._parts + self._share, _MAX_SAVED * _PARTS)

    def withdraw(self) -> bool:
        """Whether a hedge may be made; then it is counted."""
        if self._parts < _PARTS:
            return False
        self._parts -= _PARTS
        return True


def _bucket_of(seconds: float) -> int:
    if seconds <= _SHORTEST_S:
        return 0
    return min(int(math.log(seconds / _SHORTEST_S) / _STEP), _BUCKETS - 1)
