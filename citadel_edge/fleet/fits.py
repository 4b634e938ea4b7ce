"""A least-squares fit that forgets: y over two quantities, learned one observation at a time.

Decides the value expected at a point. Refuses to know what is measured.
"""

from math import exp
from typing import Final

_MEMORY_S: Final = 60.0
_MOST_CALLS: Final = 256.0
_LEAST_PART: Final = 0.1
_FAR: Final = 4.0


class Fit:
    """y = a + b·u + c·v with b, c >= 0. A slope is taken back towards zero while the points are too alike to tell it.

    Attributes:
        calls: how many observations are remembered, the older the less.
    """

    __slots__ = ("_at", "_ridge_u", "_ridge_v", "_u", "_uu", "_uv", "_uy", "_v", "_vv", "_vy", "b", "c", "calls", "y")

    def __init__(self, y: float, apart: tuple[float, float]) -> None:
        """Begin at `y` everywhere; `apart`: the deviations of u and v that make half of a slope credible."""
        self._ridge_u, self._ridge_v = apart[0] ** 2, apart[1] ** 2
        self._u = self._v = 0.0
        self._uu = self._uv = self._vv = self._uy = self._vy = 0.0
        self._at = 0.0
        self.y = y
        self.b = self.c = 0.0
        self.calls = 0.0

    def at(self, u: float, v: float) -> float:
        """The y expected at a point; never under a tenth of the mean."""
        y = self.y
        seen = y + self.b * (u - self._u) + self.c * (v - self._v)
        least = _LEAST_PART * y
        return seen if seen > least else least  # noqa: FURB136 - a third of what max() costs

    def covers(self, u: float) -> bool:
        """Whether points of about that size were seen: far beyond them the fit is a guess that nobody is judged by."""
        return u <= _FAR * max(self._u, 1.0)

    def observe(self, u: float, v: float, y: float, now: float) -> None:
        """One observation at `now` (monotonic seconds)."""
        calls = self.calls
        if calls:
            calls = min(calls * exp((self._at - now) / _MEMORY_S), _MOST_CALLS)
        self._at = now
        self.calls = calls = calls + 1.0
        gain = 1.0 / calls
        rest = 1.0 - gain
        du, dv, dy = u - self._u, v - self._v, y - self.y
        self._u += gain * du
        self._v += gain * dv
        self.y += gain * dy
        self._uu = rest * (self._uu + gain * du * du)
        self._vv = rest * (self._vv + gain * dv * dv)
        self._uv = rest * (self._uv + gain * du * dv)
        self._uy = rest * (self._uy + gain * du * dy)
        self._vy = rest * (self._vy + gain * dv * dy)
        self._solve()

    def _solve(self) -> None:
        uu, vv, uv = self._uu + self._ridge_u, self._vv + self._ridge_v, self._uv
        det = uu * vv - uv * uv
        b = (self._uy * vv - self._vy * uv) / det
        c = (self._vy * uu - self._uy * uv) / det
        if b < 0.0:
            b, c = 0.0, self._vy / vv
        if c < 0.0:
            b, c = max(0.0, self._uy / uu), 0.0
        self.b, self.c = b, max(0.0, c)


class Peak:
    """Finagle's mean of round trips: it jumps to a peak at once and comes down within ten seconds or so."""

    __slots__ = ("_at", "_cost", "_decay_s")

    def __init__(self, decay_s: float) -> None:
        self._decay_s = decay_s
        self._at = 0.0
        self._cost = 0.0

    def at(self, now: float) -> float:
        """Its value; while nothing is seen it goes to zero, so that the replica is tried again."""
        return self._cost * exp(min(0.0, self._at - now) / self._decay_s)

    def observe(self, seconds: float, now: float) -> None:
        """One round trip."""
        cost = self._cost
        if seconds > cost:
            self._cost = seconds
        else:
            rest = exp(min(0.0, self._at - now) / self._decay_s)
            self._cost = cost * rest + seconds * (1.0 - rest)
        self._at = now
