"""`/v1/streams`: generations that do not hang on a connection. Begun, read by any number of readers, stopped.

Users see their own, operators everybody's; another's stream is one that is not there. Its owner or an admin stops it.
"""

from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from citadel_edge.completions.keeping import policy_of
from citadel_edge.completions.log_sink import Refused
from citadel_edge.completions.request import CompletionRequest, Kind, parse
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.completions import call_of, kind_of, schema_of
from citadel_edge.listeners.common.middlewares import SEAT
from citadel_edge.listeners.common.payload import one
from citadel_edge.listeners.common.readable import has_all, may_see, stopped
from citadel_edge.listeners.common.routes import BODY, Admission, Route, principal_of
from citadel_edge.listeners.streaming.completions import STREAM, named_start, names_of, passed_on
from citadel_edge.listeners.streaming.dialects import HEADER as DIALECT
from citadel_edge.listeners.streaming.dialects import Dialect, told
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.listeners.streaming.reading import answer_with
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.metrics import Resumed
from citadel_edge.streams.values import Info, OnDisconnect, Policy, Recovered

RECOVERED: Final = "X-Citadel-Recovered"
_KEPT: Final = Policy(on_disconnect=OnDisconnect.GRACE)
_LAST_EVENT: Final = "Last-Event-ID"


async def begin(request: web.Request) -> web.StreamResponse:
    """`POST /v1/streams`: 201 as soon as the caller's limits let it pass, whatever becomes of its client."""
    wanted, policy = policy_of(_parsed(request[BODY]), _KEPT)
    call = call_of(request, wanted)
    production = request.app[EDGE].production
    async with production.start(call, policy=policy, once=named_start(request), seat=request[SEAT]) as produced:
        try:
            await produced.admitted()
        except Refused as refused:
            return passed_on(refused)
        answer = one({"id": produced.id, **_addresses(request, produced.id)}, status=201)
        answer.headers.update({**names_of(produced), "Location": f"/v1/streams/{produced.id}"})
        return answer


async def show(request: web.Request) -> web.StreamResponse:
    """`GET /v1/streams/{id}`."""
    info = await request.app[EDGE].streams.info(_name(request), may=may_see(principal_of(request)))
    return one(_shown(info))


async def events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/streams/{id}/events`: from the first event on, or from behind the cursor. 204: there is nothing more."""
    dialect = Dialect.named(request.headers.get(DIALECT) or request.query.get("dialect"), Dialect.RESUMABLE)
    after = _after(request)
    metrics = request.app[STREAMING_METRICS]
    streams, may = request.app[EDGE].streams, may_see(principal_of(request))
    try:
        info = await streams.info(_name(request), may=may)
        if after is not None and has_all(info, after):
            metrics.resumed(Resumed.FULL)
            return web.Response(status=204, headers={STREAM: info.id})
        opened = await streams.open(info.id, after, may=may)
    except RequestError:
        if after is not None:
            metrics.resumed(Resumed.REFUSED)
        raise
    headers = {STREAM: info.id}
    if after is not None:
        full = opened.recovery.recovered is Recovered.FULL
        metrics.resumed(Resumed.FULL if full else Resumed.NONE)
        headers[RECOVERED] = opened.recovery.recovered.value
    with opened:
        came_back = None if after is None else (opened.info, opened.recovery)
        return await answer_with(request, opened.reader, dialect=dialect, headers=headers, came_back=came_back)


async def stop(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/streams/{id}`: the generation ends at its engine; how it ended, and the tokens that this saved."""
    streams = request.app[EDGE].streams
    before, info = await stopped(streams, _name(request), principal=principal_of(request))
    if before.terminal is not None:
        return one({**_shown(before), "tokens_saved": 0})
    return one(_shown(info), status=200 if info.terminal is not None else 202)


def stream_routes() -> list[Route]:
    """What there is of a stream."""
    after = {"after": "a cursor, as the id of an event; as the header Last-Event-ID", "dialect": ", ".join(Dialect)}
    begun = {"type": "object", "required": ["id", "events_url", "ws_url"]}
    return [
        Route(
            method="POST",
            path="/v1/streams",
            handler=begin,
            summary="Begin a generation that does not hang on its connection",
            json_body=True,
            openai_errors=True,
            request=_request_schema(),
            response=begun,
            status=201,
        ),
        Route(method="GET", path="/v1/streams/{id}", handler=show, summary="How a stream is"),
        Route(
            method="GET",
            path="/v1/streams/{id}/events",
            handler=events,
            summary="A stream as Server-Sent Events, from a cursor on",
            admission=Admission.SUBSCRIPTION,
            tickets=True,
            query=after,
        ),
        Route(method="DELETE", path="/v1/streams/{id}", handler=stop, summary="Stop a generation"),
    ]


def _request_schema() -> dict[str, object]:
    chat = schema_of(Kind.CHAT)
    properties = chat["properties"]
    kept = {
        "on_disconnect": {"type": "string", "enum": [each.value for each in OnDisconnect]},
        "grace_s": {"type": "number", "minimum": 0, "maximum": 3600},
    }
    return {**chat, "properties": {**(properties if isinstance(properties, dict) else {}), **kept}}


def _parsed(body: bytes) -> CompletionRequest:
    kind = kind_of(body)
    if kind is Kind.EMBEDDINGS:
        raise RequestError(Code.INVALID_REQUEST, "a stream is of a chat or a completion; embeddings have none")
    return parse(body, kind).streaming(True)


def _name(request: web.Request) -> str:
    return request.match_info["id"]


def _after(request: web.Request) -> Cursor | None:
    """Where the reader stands: the header wins, because a browser that comes back repeats the first address."""
    header = request.headers.get(_LAST_EVENT)
    if header:
        return Cursor.parse(header, param=_LAST_EVENT)
    query = request.query.get("after")
    return Cursor.parse(query) if query else None


def _addresses(request: web.Request, name: str) -> dict[str, str]:
    scheme = "wss" if request.secure else "ws"
    return {
        "events_url": f"{request.scheme}://{request.host}/v1/streams/{name}/events",
        "ws_url": f"{scheme}://{request.host}/v1/ws",
    }


def _shown(info: Info) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": info.id,
        "state": info.state.value,
        "on_disconnect": info.policy.on_disconnect.value,
        "grace_s": info.policy.grace_s,
        "cursor": str(info.cursor),
        "first": info.first,
        "durable": info.durable,
        "readers": info.readers,
        "created_at": datetime.fromtimestamp(info.created_unix_s, UTC).isoformat(),
        "model": info.begun.model if info.begun else None,
    }
    return shown if info.terminal is None else {**shown, **told(info.terminal)}
