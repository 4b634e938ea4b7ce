"""The fleet as operators see and change it: replicas and their breakers, as they are now, and who said so."""

from aiohttp import web

from citadel_edge.accounts.principal import Role
from citadel_edge.edge import EDGE, Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common import fleet_rows
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.payload import actor, expected_version, one, read
from citadel_edge.listeners.common.routes import BODY, Route
from citadel_edge.operations.settings import BreakerOrder, SettingKind, UpstreamPatch

_OBJECT = {"type": "object"}
_LIST = {"type": "object", "properties": {"data": {"type": "array"}, "next": {"type": ["string", "null"]}}}
_PATCH = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "weight": {"type": ["number", "null"], "exclusiveMinimum": 0, "description": "null: the configuration's own"},
        "state": {"type": "string", "enum": ["active", "draining", "disabled"]},
    },
}
_ORDER = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"reason": {"type": ["string", "null"], "maxLength": 500}},
}


async def upstreams(request: web.Request) -> web.StreamResponse:
    """`GET /v1/upstreams`."""
    edge = request.app[EDGE]
    return one({"data": [fleet_rows.upstream_json(edge, row) for row in edge.fleet.table.rows.values()], "next": None})


async def upstream(request: web.Request) -> web.StreamResponse:
    """`GET /v1/upstreams/{id}`."""
    return _shown_upstream(request.app[EDGE], request.match_info["id"])


async def patch_upstream(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/upstreams/{id}`: weight, state, or both."""
    edge, identity = request.app[EDGE], request.match_info["id"]
    change = edge.operations.patch_upstream(
        identity, read(request, UpstreamPatch), by=actor(request), version=expected_version(request)
    )
    await edge.carry(change, listener=request.app[LISTENER])
    return _shown_upstream(edge, identity)


async def breakers(request: web.Request) -> web.StreamResponse:
    """`GET /v1/breakers`."""
    edge = request.app[EDGE]
    return one(
        {"data": [fleet_rows.breaker_json(edge, entry) for entry in edge.fleet.table.breakers.values()], "next": None}
    )


async def breaker(request: web.Request) -> web.StreamResponse:
    """`GET /v1/breakers/{id}`."""
    return _shown_breaker(request.app[EDGE], request.match_info["id"])


async def trip_breaker(request: web.Request) -> web.StreamResponse:
    """`POST /v1/breakers/{id}/trip`: open it until it is reset."""
    edge, identity = request.app[EDGE], request.match_info["id"]
    change = edge.operations.trip(identity, _order(request), by=actor(request), version=expected_version(request))
    await edge.carry(change, listener=request.app[LISTENER])
    return _shown_breaker(edge, identity)


async def reset_breaker(request: web.Request) -> web.StreamResponse:
    """`POST /v1/breakers/{id}/reset`: close it, whoever opened it."""
    edge, identity = request.app[EDGE], request.match_info["id"]
    change = edge.operations.reset(identity, _order(request), by=actor(request), version=expected_version(request))
    await edge.carry(change, listener=request.app[LISTENER])
    return _shown_breaker(edge, identity)


def fleet_routes() -> list[Route]:
    """Operators read, admins change. The id of a model's breaker may hold slashes and colons, as its model's name."""
    reads = (
        ("/v1/upstreams", upstreams, "The replicas", _LIST),
        ("/v1/upstreams/{id}", upstream, "One replica", _OBJECT),
        ("/v1/breakers", breakers, "The circuit breakers", _LIST),
        ("/v1/breakers/{id:.+}", breaker, "One circuit breaker", _OBJECT),
    )
    changes = (
        ("PATCH", "/v1/upstreams/{id}", patch_upstream, "Change a replica's weight or state, or drain it", _PATCH),
        ("POST", "/v1/breakers/{id:.+}/trip", trip_breaker, "Open a breaker until it is reset", _ORDER),
        ("POST", "/v1/breakers/{id:.+}/reset", reset_breaker, "Close a breaker", _ORDER),
    )
    return [
        *(
            Route(method="GET", path=path, handler=handler, summary=summary, role=Role.OPERATOR, response=response)
            for path, handler, summary, response in reads
        ),
        *(
            Route(
                method=method,
                path=path,
                handler=handler,
                summary=summary,
                role=Role.ADMIN,
                ends_with_key=False,
                json_body=True,
                request=body,
                response=_OBJECT,
            )
            for method, path, handler, summary, body in changes
        ),
    ]


def _shown_upstream(edge: Edge, identity: str) -> web.Response:
    row = edge.fleet.table.rows.get(identity)
    if row is None:
        raise RequestError(Code.NOT_FOUND, f"there is no upstream {identity[:80]!r}")
    return one(fleet_rows.upstream_json(edge, row), version=fleet_rows.version(edge, SettingKind.UPSTREAM, identity))


def _shown_breaker(edge: Edge, identity: str) -> web.Response:
    entry = edge.fleet.table.breakers.get(identity)
    if entry is None:
        raise RequestError(Code.NOT_FOUND, f"there is no breaker {identity[:80]!r}")
    return one(fleet_rows.breaker_json(edge, entry), version=fleet_rows.version(edge, SettingKind.BREAKER, identity))


def _order(request: web.Request) -> BreakerOrder:
    return read(request, BreakerOrder) if request[BODY] else BreakerOrder()
