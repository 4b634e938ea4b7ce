"""The ways of choosing one among the replicas that may be asked, by name.

Each is a score, smaller is better. Round robin keeps its turns. Refuses to know who may be asked.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Final

from msgspec import Struct

from citadel_edge.config.shape import StrategyName
from citadel_edge.fleet.table import Deployment
from citadel_edge.routing.candidates import PARTS
from citadel_edge.routing.scores import Look, Numbers, adaptive, new_tokens

Score = Callable[[Deployment, float, Look], tuple[float, Numbers]]
"""The score and what it is made of, of a deployment, its share, and what is the same for all."""
_NOTHING_SEEN: Final = 1e6
_MOST_TURNS: Final = 10_000


def least_in_flight(deployment: Deployment, share: float, look: Look) -> tuple[float, Numbers]:  # noqa: ARG001 - one shape for all
    """Requests in flight for its weight."""
    load = float(deployment.row.in_flight)
    return (load + 1.0) / share, (load,)


def peak_ewma(deployment: Deployment, share: float, look: Look) -> tuple[float, Numbers]:
    """Finagle's: the peak-sensitive mean of round trips, times the requests that it has.

    Before the first round trip one call may go there, and no more.
    """
    row = deployment.row
    load, seconds = float(row.in_flight), row.signals.peak.at(look.now)
    if not seconds and load:
        seconds = _NOTHING_SEEN
    return seconds * (load + 1.0) / share, (load, seconds)


def prefix(deployment: Deployment, share: float, look: Look) -> tuple[float, Numbers]:
    """LMetric (arXiv 2603.15202): the prompt's tokens that are new there, those queued included, times the batch."""
    row = deployment.row
    load = float(row.in_flight)
    tokens = new_tokens(look.ask, look.held.get(row.id, 0)) + row.prefilling_tokens
    return (tokens + 1.0) * (load + 1.0) / share, (load, float(tokens))


class Way(Struct, frozen=True):
    """How a strategy compares.

    Attributes:
        score: round robin's only shows the load, `Turns` decide there.
        parts: the names of the score's numbers.
        sessions, prefixes: whether it knows them.
    """

    name: StrategyName
    score: Score
    parts: tuple[str, ...] = PARTS
    sessions: bool = False
    prefixes: bool = False


WAYS: Final[Mapping[StrategyName, Way]] = {
    way.name: way
    for way in (
        Way(StrategyName.ADAPTIVE, adaptive, sessions=True, prefixes=True),
        Way(StrategyName.LEAST_IN_FLIGHT, least_in_flight),
        Way(StrategyName.PEAK_EWMA, peak_ewma, ("load", "peak_ewma_s")),
        Way(StrategyName.ROUND_ROBIN, least_in_flight),
        Way(StrategyName.PREFIX, prefix, ("load", "new_tokens"), prefixes=True),
        Way(StrategyName.SESSION, adaptive, sessions=True, prefixes=True),
    )
}
KNOWS_PREFIXES: Final = frozenset(name for name, way in WAYS.items() if way.prefixes)


class Turns:
    """Smooth weighted round robin, as nginx has it: each gets its weight at every turn, the richest pays the turn."""

    __slots__ = ("_wealth",)

    def __init__(self) -> None:
        self._wealth: dict[tuple[str, str], float] = {}

    def peek(self, free: Sequence[Deployment]) -> Deployment:
        """Whose turn it would be."""
        wealth = self._wealth
        return max(free, key=lambda one: wealth.get((one.row.id, one.model), 0.0) + one.share)

    def take(self, free: Sequence[Deployment]) -> Deployment:
        """Whose turn it is, and the next one's from now on."""
        wealth = self._wealth
        if len(wealth) > _MOST_TURNS:
            wealth.clear()
        richest, most, paid = free[0], -inf, 0.0
        for one in free:
            key, share = (one.row.id, one.model), one.share
            wealth[key] = owned = wealth.get(key, 0.0) + share
            paid += share
            if owned > most:
                richest, most = one, owned
        wealth[richest.row.id, richest.model] -= paid
        return richest
