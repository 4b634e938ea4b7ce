"""A least-squares fit that forgets: y over two quantities, learned one observation at a time.

Decides the value expected at a point. Refuses to know what is measured.
"""

from math import exp
from typing import Final

_MEMORY_S: Final = 60.0
_MOST_CALLS: Final = 256.0
_LEAST_PART: Final = 0.1


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
        return max(seen, _LEAST_PART * y)

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
