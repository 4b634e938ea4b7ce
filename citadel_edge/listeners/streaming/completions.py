"""Completions that always stream, at streaming-api. Each is a stream with a name, which others may read along."""

from typing import Final

from aiohttp import web

from citadel_edge.completions.keeping import policy_of
from citadel_edge.completions.log_sink import Refused
from citadel_edge.completions.producing import Produced, once_of
from citadel_edge.completions.request import Kind, parse
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.completions import call_of, schema_of
from citadel_edge.listeners.common.idempotency import REPLAYED, key_of
from citadel_edge.listeners.common.middlewares import SEAT
from citadel_edge.listeners.common.routes import BODY, PASSAGE, Route, principal_of
from citadel_edge.listeners.streaming.dialects import HEADER as DIALECT
from citadel_edge.listeners.streaming.dialects import Dialect
from citadel_edge.listeners.streaming.reading import answer_with
from citadel_edge.streams.values import Once, OnDisconnect, Policy

STREAM: Final = "X-Citadel-Stream"
_CANCELLED = Policy(on_disconnect=OnDisconnect.CANCEL)


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`: Server-Sent Events whatever the body's `stream` says."""
    return await _complete(request, Kind.CHAT)


async def completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/completions`: Server-Sent Events whatever the body's `stream` says."""
    return await _complete(request, Kind.COMPLETION)


async def _complete(request: web.Request, kind: Kind) -> web.StreamResponse:
    dialect = Dialect.named(request.headers.get(DIALECT), Dialect.OPENAI)
    wanted, policy = policy_of(parse(request[BODY], kind).streaming(True), _CANCELLED)
    call = call_of(request, wanted)
    production = request.app[EDGE].production
    async with production.start(call, policy=policy, once=named_start(request), seat=request[SEAT]) as produced:
        try:
            begun = await produced.begun()
        except Refused as refused:
            return passed_on(refused)
        headers = {**begun.headers, **names_of(produced)}
        return await answer_with(
            request, produced.reader, dialect=dialect, headers=headers, asked_s=request[PASSAGE].began_s
        )


def named_start(request: web.Request) -> Once | None:
    """The start that named itself by `Idempotency-Key`; null for one that did not."""
    key = key_of(request)
    if key is None:
        return None
    return once_of(caller=principal_of(request).user_id, path=request.path, key=key, body=request[BODY])


def names_of(produced: Produced) -> dict[str, str]:
    """Which stream it is, and whether it was there before."""
    return {STREAM: produced.id, **({} if produced.created else {REPLAYED: "true"})}


def passed_on(refused: Refused) -> web.Response:
    """The engine's own refusal, as it is."""
    headers = {name: value for name, value in refused.headers.items() if name != "Content-Length"}
    return web.Response(
        status=refused.status, body=refused.body, headers={**headers, "Content-Type": refused.content_type}
    )


def completion_routes() -> list[Route]:
    """Errors before the first byte come in OpenAI's shape."""
    return [
        Route(
            method="POST",
            path=path,
            handler=handler,
            summary=summary,
            json_body=True,
            openai_errors=True,
            request=schema_of(kind),
        )
        for path, handler, summary, kind in (
            ("/v1/chat/completions", chat_completions, "A chat completion as Server-Sent Events", Kind.CHAT),
            ("/v1/completions", completions, "A text completion as Server-Sent Events", Kind.COMPLETION),
        )
    ]
