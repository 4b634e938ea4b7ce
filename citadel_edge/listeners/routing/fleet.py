"""The fleet as operators see and change it: replicas and their breakers, as they are now, and who said so."""

from typing import Any

from aiohttp import web

from citadel_edge.accounts.principal import Role
from citadel_edge.edge import EDGE, Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.breaker import Breaker, BreakerState
from citadel_edge.fleet.table import BreakerEntry, Row
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.payload import actor, expected_version, one, read
from citadel_edge.listeners.common.routes import BODY, Route
from citadel_edge.operations.settings import BreakerOrder, Setting, SettingKind, Source, UpstreamPatch

TYPICAL_PROMPT = 512
"""Tokens of the prompt whose time to the first token is shown."""
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
    return one({"data": [upstream_json(edge, row) for row in edge.fleet.table.rows.values()], "next": None})


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
    return one({"data": [breaker_json(edge, entry) for entry in edge.fleet.table.breakers.values()], "next": None})


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


def upstream_json(edge: Edge, row: Row) -> dict[str, Any]:
    """A replica without its key. `weight` is the operator's, null where the configuration's own counts."""
    now = edge.clock.monotonic_s()
    setting = edge.operations.setting(SettingKind.UPSTREAM, row.id)
    return {
        "id": row.id,
        "url": row.url,
        "engine": row.engine.value,
        "state": row.state.value,
        "weight": row.weight,
        "source": row.source,
        "changed": _changed(setting),
        "health": row.health.value,
        "detail": "it refuses the key configured for it" if row.key_refused else row.health_detail,
        "probe_failures": row.probe_failures,
        "available": row.available(now),
        "warmth": round(row.warmth(now), 3),
        "slots": row.slots,
        "in_flight": row.in_flight,
        "reserved_tokens": row.reserved_tokens,
        "prefilling_tokens": row.prefilling_tokens,
        "cooling_s": round(max(0.0, row.cooling_until - now), 3),
        "stalled_s": round(row.stalled_s(now), 3),
        "breaker": row.breaker.state.value,
        "error_rate": row.breaker.error_rate(now),
        "ejections": row.breaker.trips,
        "retry_in_s": _retry_in_s(row.breaker, now),
        "gauges": _gauges(row, now),
        "estimates": _estimates(row, now),
        "context_tokens": row.context_tokens,
        "gpu_hour_usd": row.gpu_hour_usd,
        "deployments": _deployments(edge, row),
    }


def breaker_json(edge: Edge, entry: BreakerEntry) -> dict[str, Any]:
    """A breaker. `source` is who put it into its state: `api`, `calls`, or nobody yet (`config`)."""
    breaker, now = entry.breaker, edge.clock.monotonic_s()
    return {
        "id": entry.id,
        "upstream": entry.upstream,
        "model": entry.model,
        "state": breaker.state.value,
        "held": breaker.held,
        "source": _source(breaker),
        "changed": _changed(edge.operations.setting(SettingKind.BREAKER, entry.id)),
        "failures": breaker.failures,
        "trips": breaker.trips,
        "retry_in_s": _retry_in_s(breaker, now),
    }


def _shown_upstream(edge: Edge, identity: str) -> web.Response:
    row = edge.fleet.table.rows.get(identity)
    if row is None:
        raise RequestError(Code.NOT_FOUND, f"there is no upstream {identity[:80]!r}")
    return one(upstream_json(edge, row), version=_version(edge, SettingKind.UPSTREAM, identity))


def _shown_breaker(edge: Edge, identity: str) -> web.Response:
    entry = edge.fleet.table.breakers.get(identity)
    if entry is None:
        raise RequestError(Code.NOT_FOUND, f"there is no breaker {identity[:80]!r}")
    return one(breaker_json(edge, entry), version=_version(edge, SettingKind.BREAKER, identity))


def _version(edge: Edge, kind: SettingKind, identity: str) -> int:
    """What the ETag says: how often it was changed by the API. What lives changes without it."""
    setting = edge.operations.setting(kind, identity)
    return 0 if setting is None else setting.version


def _order(request: web.Request) -> BreakerOrder:
    return read(request, BreakerOrder) if request[BODY] else BreakerOrder()


def _changed(setting: Setting | None) -> dict[str, Any] | None:
    """Who changed it last by the API, when and why."""
    if setting is None:
        return None
    return {"by": setting.set_by, "at": setting.set_at, "reason": setting.reason, "version": setting.version}


def _source(breaker: Breaker) -> str:
    if breaker.held:
        return Source.API.value
    return "calls" if breaker.state is not BreakerState.CLOSED else breaker.source or Source.CONFIG.value


def _retry_in_s(breaker: Breaker, now: float) -> float | None:
    """Until its next probe; null while it is not open, or held by an operator."""
    waits = breaker.state is BreakerState.OPEN and not breaker.held
    return round(max(0.0, breaker.retry_at - now), 3) if waits else None


def _gauges(row: Row, now: float) -> dict[str, Any] | None:
    """What the engine said of itself last, how old that is, and what of it still counts: `foreign`, `kv_pressure`."""
    gauges = row.gauges
    if gauges.reading is None:
        return None
    return {
        "running": gauges.reading.running,
        "waiting": gauges.reading.waiting,
        "kv": gauges.reading.kv,
        "age_s": round(now - gauges.read_at, 3),
        "unchanged_s": round(now - gauges.changed_at, 3),
        "foreign": round(gauges.foreign(now), 3),
        "kv_pressure": round(gauges.pressure(now), 3),
    }


def _estimates(row: Row, now: float) -> dict[str, Any] | None:
    """What the next call would take, as learned from the calls before; null before any."""
    signals = row.signals
    if not signals.known:
        return None
    load = row.in_flight + 1
    ttft_s = signals.predict_ttft_s(tokens_in=TYPICAL_PROMPT, prefilling_tokens=row.prefilling_tokens, load=load)
    return {
        "prompt_tokens": TYPICAL_PROMPT,
        "ttft_s": ttft_s,
        "token_s": signals.predict_token_s(load=load),
        "tokens_per_s": signals.tokens_per_s(now),
        "utilisation": signals.utilisation(now),
        "penalty_s": signals.penalty_s(now),
    }


def _deployments(edge: Edge, row: Row) -> list[dict[str, Any]]:
    return [
        {"model": model.name, "engine_model": place.model, "weight": place.share}
        for model in edge.config.value.models
        for place in edge.fleet.table.deployments(model.name)
        if place.row is row
    ]
