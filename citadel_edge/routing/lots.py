"""Replicas drawn by chance, each as often as its weight says.

Decides who is looked at where not all are. Refuses to know who may be asked, and to compare those that were drawn.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from msgspec import Struct

from citadel_edge.fleet.table import Deployment

Rng = Callable[[], float]
_MOST_KNOWN: Final = 1000


class _Weights(Struct, frozen=True):
    """The weights of these very places, and where each one's part of their sum ends."""

    places: Sequence[Deployment]
    shares: list[float]
    ends: list[float]


class Lots:
    """One a chooser. `rng` answers 0 to 1, 1 excluded.

    Weights of a fleet are summed up once and not at every draw, which would take as long as a look at all. An
    operator's new one is found out when its replica is drawn next.
    """

    __slots__ = ("_known", "_rng")

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._known: dict[str, _Weights] = {}

    def one(self, places: Sequence[Deployment]) -> int:
        """The position of one of `places`, of which there must be one."""
        known = self._known.get(places[0].name)
        if known is None or known.places is not places:
            known = self._weigh(places)
        at = self._at(known.ends)
        if known.shares[at] != places[at].share:
            at = self._at(self._weigh(places).ends)
        return at

    def two(self, places: Sequence[Deployment]) -> tuple[int, int]:
        """The positions of two different ones of `places`, of which there must be two."""
        shares = [place.share for place in places]
        first = self._at(list(accumulate(shares)))
        shares[first] = 0.0
        return first, self._at(list(accumulate(shares)))

    def _at(self, ends: Sequence[float]) -> int:
        return bisect(ends, self._rng() * ends[-1], 0, len(ends) - 1)

    def _weigh(self, places: Sequence[Deployment]) -> _Weights:
        if len(self._known) >= _MOST_KNOWN:  # models that were configured once
            self._known.clear()
        shares = [place.share for place in places]
        known = self._known[places[0].name] = _Weights(places, shares, list(accumulate(shares)))
        return known
