"""Which replicas of a model may take a request, which may not and why, and the one that takes it.

Decides by looking at the rows of this moment. Refuses to change them: whoever asks takes the row in the same turn of
the loop, as `fleet.table` demands.

Structs, because making one costs a seventh of a frozen dataclass, and every request makes one a replica.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from citadel_edge.fleet.table import Deployment, Row, RowState

STRATEGY = "least_in_flight"


class Exclusion(StrEnum):
    """Why a replica is out."""

    DISABLED = "disabled"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"
    COOLING = "cooling"
    BREAKER = "breaker"
    TRIED = "tried"


class Excluded(Struct, frozen=True, gc=False):
    """Out, in words for a reader. `retry_in_s`: when it may be back, where that is known."""

    code: Exclusion
    reason: str
    retry_in_s: float | None = None


class Candidate(Struct, frozen=True, gc=False):
    """One replica as it was when the choice was made."""

    upstream: str
    model: str
    weight: float
    in_flight: int
    excluded: Excluded | None


class Choice(Struct, frozen=True):
    """The replica, if any was left, and all that were looked at."""

    deployment: Deployment | None
    candidates: tuple[Candidate, ...]


def obstacle(row: Row, now: float) -> Excluded | None:
    """Why a row is not available at `now` (monotonic seconds), None when it is."""
    if row.available(now):
        return None
    if row.state is not RowState.ACTIVE:
        code = Exclusion.DRAINING if row.state is RowState.DRAINING else Exclusion.DISABLED
        return Excluded(code, f"it is {row.state.value}")
    if not row.healthy:
        return Excluded(Exclusion.UNHEALTHY, f"it is not healthy: {row.health_detail}")
    if row.full(now):
        return Excluded(Exclusion.COOLING, "it said that it is full", row.cooling_until - now)
    return Excluded(
        Exclusion.BREAKER, f"its breaker is {row.breaker.state.value}", max(0.0, row.breaker.retry_at - now)
    )


def choose(deployments: Sequence[Deployment], *, now: float, tried: Mapping[str, bool]) -> Choice:
    """The available replica with the least in flight for its weight; among equals the one that waited longest.

    Args:
        deployments: where the model is served.
        now: monotonic seconds.
        tried: replicas that failed this very request, and whether they may be asked once more when no other is left.
    """
    candidates = tuple(_candidate(deployment, now, tried) for deployment in deployments)
    free = [one for one, seen in zip(deployments, candidates, strict=True) if seen.excluded is None]
    if not free and any(tried.values()):
        free = [one for one in deployments if tried.get(one.row.id) and one.row.available(now)]
    return Choice(min(free, key=_load, default=None), candidates)


def _load(deployment: Deployment) -> tuple[float, int]:
    return (deployment.row.in_flight + 1) / deployment.weight, deployment.row.turn


def _candidate(deployment: Deployment, now: float, tried: Mapping[str, bool]) -> Candidate:
    row = deployment.row
    excluded = obstacle(row, now)
    if row.id in tried and excluded is None:
        excluded = Excluded(Exclusion.TRIED, "it failed this request already")
    return Candidate(row.id, deployment.model, deployment.weight, row.in_flight, excluded)
