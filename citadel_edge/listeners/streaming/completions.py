"""Completions that always stream, at streaming-api."""

from aiohttp import web

from citadel_edge.completions.request import Kind
from citadel_edge.listeners.common.completions import complete, schema_of
from citadel_edge.listeners.common.routes import Route


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`: Server-Sent Events whatever the body's `stream` says."""
    return await complete(request, Kind.CHAT, stream=True)


async def completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/completions`: Server-Sent Events whatever the body's `stream` says."""
    return await complete(request, Kind.COMPLETION, stream=True)


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
