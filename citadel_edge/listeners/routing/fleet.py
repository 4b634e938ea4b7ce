"""The fleet as operators see it: replicas and their breakers, as they are now."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from citadel_edge.accounts.principal import Role
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.table import Row
from citadel_edge.listeners.common.routes import Route

_LIST = {"type": "object", "properties": {"data": {"type": "array"}, "next": {"type": ["string", "null"]}}}


async def upstreams(request: web.Request) -> web.StreamResponse:
    """`GET /v1/upstreams`."""
    edge = request.app[EDGE]
    now = edge.clock.monotonic_s()
    rows = [upstream_json(row, now) for row in edge.fleet.table.rows.values()]
    return web.json_response({"data": rows, "next": None})


async def upstream(request: web.Request) -> web.StreamResponse:
    """`GET /v1/upstreams/{id}`."""
    edge = request.app[EDGE]
    row = edge.fleet.table.rows.get(request.match_info["id"])
    if row is None:
        raise RequestError(Code.NOT_FOUND, f"there is no upstream {request.match_info['id'][:80]!r}")
    return web.json_response(upstream_json(row, edge.clock.monotonic_s()))


async def breakers(request: web.Request) -> web.StreamResponse:
    """`GET /v1/breakers`."""
    rows = request.app[EDGE].fleet.table.rows.values()
    data = [{"id": row.id, "upstream": row.id, "state": row.breaker.state.value} for row in rows]
    return web.json_response({"data": data, "next": None})


def fleet_routes() -> list[Route]:
    """Operators read; changing comes with the fleet's own API."""
    described = (
        ("/v1/upstreams", upstreams, "The replicas", _LIST),
        ("/v1/upstreams/{id}", upstream, "One replica", {"type": "object"}),
        ("/v1/breakers", breakers, "The circuit breakers", _LIST),
    )
    return [
        Route(method="GET", path=path, handler=handler, summary=summary, role=Role.OPERATOR, response=response)
        for path, handler, summary, response in described
    ]


def upstream_json(row: Row, now: float) -> Mapping[str, Any]:
    """A replica without its key."""
    return {
        "id": row.id,
        "url": row.url,
        "engine": row.engine.value,
        "state": row.state.value,
        "health": row.health.value,
        "detail": row.health_detail,
        "available": row.available(now),
        "in_flight": row.in_flight,
        "slots": row.slots,
        "breaker": row.breaker.state.value,
        "source": "config",
    }
