"""What the Prometheus server knows, and what clients ask of the graph: the operator's two looks back."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.patterns import Pattern
from citadel_edge.listeners.graphql.binding import Type
from citadel_edge.listeners.graphql.resolvers.connections import MOST, USUAL
from citadel_edge.listeners.graphql.resolvers.told import Info
from citadel_edge.telemetry.metrics_server import Readings, Series

SAMPLES: Final = 250
_SHORTEST_STEP_S: Final = 1.0


async def metric(_: None, info: Info, query: str, range: Mapping[str, Any] | None = None) -> Readings:  # noqa: A002
    """At this moment, or over a range."""
    server = info.context.edge.metrics_server
    if range is None:
        return await server.instant(query)
    since, until = range["from"], range.get("to") or info.context.edge.clock.now()
    usual_s = max(_SHORTEST_STEP_S, math.ceil((until - since).total_seconds() / SAMPLES))
    return await server.range(query, since=since, until=until, step_s=range.get("step_s") or usual_s)


async def operation_patterns(
    _: None, info: Info, *, first: int | None = USUAL, order_by: str | None = None, since: datetime | None = None
) -> list[Pattern]:
    """The first by what was asked for, of all instances."""
    wanted = USUAL if first is None else first
    if not 1 <= wanted <= MOST:
        raise RequestError(Code.INVALID_REQUEST, f"Expected `first` from 1 to {MOST}, got {wanted}.", param="first")
    book = info.context.parts.operations
    return [] if book is None else await book.top(wanted, by=order_by or "count", since=since)


def _pairs(source: Series) -> list[tuple[float, float | None]]:
    return [(at, _number(value)) for at, value in source.samples]


def _samples(source: Series, _: Info) -> list[dict[str, Any]]:
    return [{"at": at, "value": _number(value)} for at, value in source.samples]


def _number(value: float) -> float | None:
    """JSON has no word for what is no number, or without end."""
    return value if math.isfinite(value) else None


TYPES = {
    "Metric": Type(Readings),
    "MetricSeries": Type(
        Series,
        {
            "name": lambda source, _: source.labels.get("__name__"),
            "samples": _samples,
            "pairs": lambda source, _: _pairs(source),
        },
    ),
    "MetricSample": Type(Mapping),
    "OperationPattern": Type(Pattern),
}
