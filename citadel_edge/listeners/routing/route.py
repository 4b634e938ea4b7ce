"""Where a request would go, and why, without sending it."""

from typing import Any

import msgspec
from aiohttp import web

from citadel_edge.completions.request import Kind, parse
from citadel_edge.edge import EDGE
from citadel_edge.limits.claims import Decision
from citadel_edge.listeners.common.completions import call_of, kind_of, schema_of
from citadel_edge.listeners.common.payload import one
from citadel_edge.listeners.common.routes import BODY, Route

_NUMBER_OR_NULL = {"type": ["number", "null"]}
_CANDIDATE: dict[str, Any] = {
    "type": "object",
    "required": ["upstream", "model", "score", "parts", "excluded"],
    "properties": {
        "upstream": {"type": "string"},
        "model": {"type": "string"},
        "score": {**_NUMBER_OR_NULL, "description": "smaller is better; null when it was not weighed"},
        "parts": {"type": "object", "additionalProperties": {"type": "number"}},
        "excluded": {
            "type": ["object", "null"],
            "properties": {"code": {"type": "string"}, "reason": {"type": "string"}},
        },
    },
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["decision", "model", "chosen", "candidates", "estimate"],
    "properties": {
        "decision": {"type": "string"},
        "model": {"type": "string"},
        "chosen": {"type": ["string", "null"]},
        "candidates": {"type": "array", "items": _CANDIDATE},
        "estimate": {
            "type": ["object", "null"],
            "properties": {
                "tokens_in": {"type": "integer"},
                "tokens_out": {"type": "integer"},
                "cost_usd": {"type": "number"},
                "ttft_s": _NUMBER_OR_NULL,
                "total_s": _NUMBER_OR_NULL,
            },
        },
        "strategy": {"type": "string"},
        "objective": {"type": ["string", "null"]},
        "features": {"type": ["object", "null"]},
        "models": {"type": "array", "items": {"type": "object"}},
        "limits": {
            "type": "object",
            "properties": {
                "allowed": {"type": "boolean"},
                "retry_after_s": _NUMBER_OR_NULL,
                "standings": {"type": "array", "items": {"type": "object"}},
                "degraded": {"type": "boolean"},
            },
        },
    },
}


async def route(request: web.Request) -> web.StreamResponse:
    """`POST /v1/route`."""
    body = request[BODY]
    call = call_of(request, parse(body, kind_of(body)))
    pipeline = request.app[EDGE].pipeline
    explained = pipeline.explain(call).explained()
    return one({**explained, "limits": _told(await pipeline.look(call))})


def _told(decision: Decision) -> dict[str, Any]:
    """How the caller's limits stand, and whether they would let it pass."""
    return {
        "allowed": decision.allowed,
        "retry_after_s": decision.retry_after_s,
        "standings": [msgspec.structs.asdict(one) for one in decision.standings],
        "degraded": decision.degraded,
    }


def route_routes() -> list[Route]:
    """One."""
    return [
        Route(
            method="POST",
            path="/v1/route",
            handler=route,
            summary="Explain where a request would go; nothing is sent",
            json_body=True,
            request={"anyOf": [schema_of(kind) for kind in Kind]},
            response=_ANSWER,
        )
    ]
