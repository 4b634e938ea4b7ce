"""The registry of breakers: one a replica, and one a model on a replica that serves several.

Decides which breakers there are, by the ids `<upstream>` and `<upstream>:<model>`, and how many of them may be open at
once by what calls say: one in ten of the replicas whose probes succeed, at least one. Past that a breaker stays CLOSED:
a fault that all share is not mended by leaving all alone. Refuses to count those that an operator tripped, and rows
that their probes have taken out anyway.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from msgspec import Struct

from citadel_edge.fleet.breaker import Breaker, BreakerPolicy, BreakerState
from citadel_edge.fleet.guards import breaker_id
from citadel_edge.fleet.row import Deployment, Row, RowState

ONE_IN: Final = 10


class BreakerEntry(Struct, frozen=True):
    """A breaker and what it guards. `model`: the model's own name, None when it guards the whole upstream."""

    id: str
    upstream: str
    model: str | None
    breaker: Breaker


def entries(rows: Iterable[Row], places: Iterable[Deployment]) -> dict[str, BreakerEntry]:
    """All breakers by id: the rows' first, then those of models."""
    found = {row.id: BreakerEntry(row.id, row.id, None, row.breaker) for row in rows}
    for place in places:
        if place.breaker is not None:
            name = breaker_id(place)
            found[name] = BreakerEntry(name, place.row.id, place.name, place.breaker)
    return found


def guarded(place: Deployment, name: str, policy: BreakerPolicy) -> Deployment:
    """The place, with a breaker of its own if that would have this id and there is none yet."""
    if place.breaker is not None or breaker_id(place) != name:
        return place
    return replace(place, breaker=Breaker(policy))


def row_may_trip(rows: Iterable[Row]) -> bool:
    """Whether one breaker more of these rows may open."""
    judged = [row for row in rows if _counts(row)]
    return _room(len(judged), sum(_ejected(row.breaker) for row in judged))


def deployment_may_trip(places: Iterable[Deployment]) -> bool:
    """Whether one more of a model's places may be left alone."""
    judged = [place for place in places if _counts(place.row)]
    out = sum(
        _ejected(place.row.breaker) or (place.breaker is not None and _ejected(place.breaker)) for place in judged
    )
    return _room(len(judged), out)


def _counts(row: Row) -> bool:
    return row.healthy and row.state is RowState.ACTIVE


def _ejected(breaker: Breaker) -> bool:
    return breaker.state is not BreakerState.CLOSED and not breaker.held


def _room(judged: int, out: int) -> bool:
    return out < max(1, judged // ONE_IN)
