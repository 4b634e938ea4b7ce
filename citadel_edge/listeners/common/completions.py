"""The completion routes, the same at every door that has them: parse, call the pipeline, answer."""

import math
from collections.abc import Mapping

from aiohttp import web

from citadel_edge.completions.call import Call, Report
from citadel_edge.completions.request import CompletionRequest, Kind, parse
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.routes import BODY, PASSAGE, principal_of
from citadel_edge.listeners.common.sink import HttpSink

MAX_TIMEOUT_S = 86_400.0


async def complete(
    request: web.Request, kind: Kind, *, stream: bool | None = None, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """One completion from body to last byte. `stream` overrides what the body asks for."""
    edge = request.app[EDGE]
    wanted = parse(request[BODY], kind)
    if stream is not None:
        wanted = wanted.streaming(stream)
    sink = HttpSink(request, headers=headers)
    await edge.pipeline.run(_call(request, wanted), sink)
    if sink.response is None:
        raise RuntimeError("the pipeline ended without an answer")
    return sink.response


def _call(request: web.Request, wanted: CompletionRequest) -> Call:
    passage = request[PASSAGE]

    def note(report: Report) -> None:
        passage.facts.update(report.facts())

    return Call(
        request=wanted,
        principal=principal_of(request),
        listener=request.app[LISTENER],
        endpoint=request.path,
        request_id=passage.request_id,
        traceparent=passage.trace.header,
        deadline_s=_deadline_s(request),
        spawn=request.app[EDGE].budgets[request.app[LISTENER]].spawn,
        on_end=note,
    )


def _deadline_s(request: web.Request) -> float | None:
    text = request.headers.get("X-Citadel-Timeout")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise RequestError(
            Code.INVALID_REQUEST,
            f"X-Citadel-Timeout is a number of seconds over 0 and at most {MAX_TIMEOUT_S:g}, got {text[:40]!r}",
            param="X-Citadel-Timeout",
        )
    return seconds


def schema_of(kind: Kind) -> Mapping[str, object]:
    """JSON Schema of the fields that are looked at; all others pass through."""
    return _SCHEMAS[kind]


_COMMON = {"model": {"type": "string"}}
_SAMPLED = {
    "stream": {"type": "boolean"},
    "max_tokens": {"type": "integer", "minimum": 1},
    "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
}
_SCHEMAS: Mapping[Kind, Mapping[str, object]] = {
    Kind.CHAT: {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {**_COMMON, **_SAMPLED, "messages": {"type": "array", "items": {"type": "object"}}},
    },
    Kind.COMPLETION: {
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {**_COMMON, **_SAMPLED, "prompt": {"type": ["string", "array"]}},
    },
    Kind.EMBEDDINGS: {
        "type": "object",
        "required": ["model", "input"],
        "properties": {**_COMMON, "input": {"type": ["string", "array"]}},
    },
}
