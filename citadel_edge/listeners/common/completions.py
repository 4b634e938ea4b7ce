"""The completion routes, the same at every door that has them: parse, call the pipeline, answer."""

import asyncio
import math
from collections.abc import Mapping

import msgspec
from aiohttp import web
from msgspec import UNSET, Raw, Struct, UnsetType

from citadel_edge.completions.call import Call, Report
from citadel_edge.completions.endings import error_event
from citadel_edge.completions.request import CompletionRequest, Kind, parse
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.leaving import ended_by_us
from citadel_edge.listeners.common.middlewares import HOLDING, LISTENER
from citadel_edge.listeners.common.routes import BODY, PASSAGE, principal_of
from citadel_edge.listeners.common.sink import HttpSink
from citadel_edge.routing.objective import HEADER as OPTIMIZE
from citadel_edge.routing.objective import parse_header

MAX_TIMEOUT_S = 86_400.0
LONGEST_SESSION = 256
LAST_WORDS_S = 0.5


async def complete(
    request: web.Request, kind: Kind, *, stream: bool | None = None, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """One completion from body to last byte. `stream` overrides what the body asks for."""
    edge = request.app[EDGE]
    wanted = parse(request[BODY], kind)
    if stream is not None:
        wanted = wanted.streaming(stream)
    sink = HttpSink(request, headers=headers)
    try:
        await edge.pipeline.run(call_of(request, wanted), sink)
    except asyncio.CancelledError as error:
        await _end(sink, error)
    if sink.response is None:
        raise RuntimeError("the pipeline ended without an answer")
    return sink.response


async def _end(sink: HttpSink, error: asyncio.CancelledError) -> None:
    """A request that we ended ourselves gets a last word; one whose client left is left alone."""
    ended = ended_by_us(error)
    if sink.response is None:
        raise ended
    try:
        async with asyncio.timeout(LAST_WORDS_S):
            await sink.write(error_event(ended))
            await sink.finish()
    except (TimeoutError, ConnectionError):
        raise error from None


def call_of(request: web.Request, wanted: CompletionRequest) -> Call:
    """What the pipeline is asked for, with the caller, the headers and the listener's budget."""
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
        optimize=parse_header(request.headers.get(OPTIMIZE)),
        session=_session(request),
        spawn=request.app[EDGE].budgets[request.app[LISTENER]].spawn,
        hold=request[HOLDING].hold,
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


def _session(request: web.Request) -> str | None:
    """The name under which the client wants the same replica again; any text that is UTF-8, of a bounded length."""
    name = request.headers.get("X-Citadel-Session") or None
    if name is not None and len(name) > LONGEST_SESSION:
        raise RequestError(
            Code.INVALID_REQUEST,
            f"X-Citadel-Session has {len(name)} characters, at most {LONGEST_SESSION} are read",
            param="X-Citadel-Session",
        )
    if name is not None and not _is_text(name):
        raise RequestError(
            Code.INVALID_REQUEST, "X-Citadel-Session holds bytes that are no UTF-8", param="X-Citadel-Session"
        )
    return name


def _is_text(header: str) -> bool:
    """Whether a header's bytes were UTF-8; those that were not stand in it as surrogates."""
    try:
        header.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Prompts(Struct):
    """The fields that tell the three kinds of bodies apart."""

    messages: Raw | UnsetType = UNSET
    prompt: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET


_PROMPTS = msgspec.json.Decoder(_Prompts)


def kind_of(body: bytes) -> Kind:
    """What a body asks for: by `messages`, `prompt` or `input`, the first of them that is there; else a chat."""
    try:
        prompts = _PROMPTS.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return Kind.CHAT  # whose parser says what is wrong
    if prompts.messages is not UNSET:
        return Kind.CHAT
    if prompts.prompt is not UNSET:
        return Kind.COMPLETION
    return Kind.CHAT if prompts.input is UNSET else Kind.EMBEDDINGS


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
