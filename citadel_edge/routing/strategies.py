"""The ways of choosing one among the replicas that may be asked, by name.

Each is a score, smaller is better. Round robin keeps its turns. Refuses to know who may be asked.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from citadel_edge.config.shape import StrategyName
from citadel_edge.fleet.table import Deployment
from citadel_edge.routing.scores import Look, Numbers, adaptive, new_tokens

Score = Callable[[Deployment, Look], tuple[float, Numbers]]
_NOTHING_SEEN: Final = 1e6
_MOST_TURNS: Final = 10_000


def least_in_flight(deployment: Deployment, look: Look) -> tuple[float, Numbers]:  # noqa: ARG001 - one shape for all
    """Requests in flight for its weight."""
    load = float(deployment.row.in_flight)
    return (load + 1.0) / deployment.share, (load,)


def peak_ewma(deployment: Deployment, look: Look) -> tuple[float, Numbers]:
    """Finagle's: the peak-sensitive mean of round trips, times the requests that it has.

    Before the first round trip one call may go there, and no more.
    """
    row = deployment.row
    load, seconds = float(row.in_flight), row.signals.peak.at(look.now)
    if not seconds and load:
        seconds = _NOTHING_SEEN
    return seconds * (load + 1.0) / deployment.share, (load, seconds)


def prefix(deployment: Deployment, look: Look) -> tuple[float, Numbers]:
    """LMetric (arXiv 2603.15202): the prompt's tokens that are new there, those queued included, times the batch."""
    row = deployment.row
    load, tokens = float(row.in_flight), new_tokens(row, look) + row.prefilling_tokens
    return (tokens + 1.0) * (load + 1.0) / deployment.share, (load, float(tokens))


def round_robin(deployment: Deployment, look: Look) -> tuple[float, Numbers]:
    """Scored by `Turns`; this only shows the load."""
    return least_in_flight(deployment, look)


SCORES: Final[Mapping[StrategyName, Score]] = {
    StrategyName.ADAPTIVE: adaptive,
    StrategyName.LEAST_IN_FLIGHT: least_in_flight,
    StrategyName.PEAK_EWMA: peak_ewma,
    StrategyName.ROUND_ROBIN: round_robin,
    StrategyName.PREFIX: prefix,
    StrategyName.SESSION: adaptive,
}

PART_NAMES: Final[Mapping[StrategyName, tuple[str, ...]]] = {
    StrategyName.PEAK_EWMA: ("load", "peak_ewma_s"),
    StrategyName.PREFIX: ("load", "new_tokens"),
}

KNOWS_SESSIONS: Final = frozenset({StrategyName.ADAPTIVE, StrategyName.SESSION})
KNOWS_PREFIXES: Final = frozenset({StrategyName.ADAPTIVE, StrategyName.SESSION, StrategyName.PREFIX})


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
        for one in free:
            key = (one.row.id, one.model)
            wealth[key] = wealth.get(key, 0.0) + one.share
        richest = max(free, key=lambda one: wealth[one.row.id, one.model])
        wealth[richest.row.id, richest.model] -= sum(one.share for one in free)
        return richest
