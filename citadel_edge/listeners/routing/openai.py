"""The OpenAI-compatible routes of routing-api."""

from aiohttp import web

from citadel_edge.completions.request import Kind
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.completions import complete, schema_of
from citadel_edge.listeners.common.routes import Route, principal_of


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`."""
    return await complete(request, Kind.CHAT)


async def completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/completions`."""
    return await complete(request, Kind.COMPLETION)


async def embeddings(request: web.Request) -> web.StreamResponse:
    """`POST /v1/embeddings`."""
    return await complete(request, Kind.EMBEDDINGS)


async def models(request: web.Request) -> web.StreamResponse:
    """`GET /v1/models`: what the caller may use."""
    entries = request.app[EDGE].pipeline.catalogue.entries(principal_of(request).may_use)
    return web.json_response({"object": "list", "data": entries})


async def model(request: web.Request) -> web.StreamResponse:
    """`GET /v1/models/{id}`."""
    catalogue = request.app[EDGE].pipeline.catalogue
    return web.json_response(catalogue.entry(request.match_info["id"], principal_of(request).may_use))


def openai_routes() -> list[Route]:
    """Errors of these come in OpenAI's shape, which its SDKs map to their exception classes."""
    posts = (
        ("/v1/chat/completions", chat_completions, "A chat completion, whole or streamed", Kind.CHAT),
        ("/v1/completions", completions, "A text completion, whole or streamed", Kind.COMPLETION),
        ("/v1/embeddings", embeddings, "Embeddings", Kind.EMBEDDINGS),
    )
    return [
        *(
            Route(
                method="POST",
                path=path,
                handler=handler,
                summary=summary,
                json_body=True,
                openai_errors=True,
                request=schema_of(kind),
                response={"type": "object"},
            )
            for path, handler, summary, kind in posts
        ),
        Route(
            method="GET",
            path="/v1/models",
            handler=models,
            summary="The models the caller may use",
            openai_errors=True,
            response={"type": "object"},
        ),
        Route(
            method="GET",
            path="/v1/models/{id:.+}",
            handler=model,
            summary="One model",
            openai_errors=True,
            response={"type": "object"},
        ),
    ]
