"""The routes of graphql-api. One path speaks four protocols: which one a request means is decided here.

GraphQL over HTTP is the rule. An upgrade is graphql-transport-ws; a client that takes nothing but events speaks
graphql-sse, on one stream for all operations if it names its reservation.
"""

from typing import Final

from aiohttp import web

from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.routes import PASSAGE, Admission, Route
from citadel_edge.listeners.graphql.accept import read_accept
from citadel_edge.listeners.graphql.asking import demand_own_site
from citadel_edge.listeners.graphql.http import get, post
from citadel_edge.listeners.graphql.single import end, operate, reserve, stream, token_of
from citadel_edge.listeners.graphql.sse import distinct
from citadel_edge.listeners.graphql.websocket.routes import converse

PATH: Final = "/graphql"
_METHODS: Final = "DELETE, GET, POST, PUT"


async def graph(request: web.Request) -> web.StreamResponse:
    """Whatever is sent to `/graphql`, by the protocol that it speaks; other sites' pages are sent away."""
    demand_own_site(request)
    route = request[PASSAGE].route
    if route is None:
        raise LookupError("a request of this path always has a route")
    return await route.handler(request)


def choose(request: web.Request) -> Route:
    """The protocol that a request speaks."""
    match request.method:
        case "POST":
            if token_of(request) is not None:
                return _OPERATE
            return _DISTINCT_POST if read_accept(request.headers.get("Accept")).only_events else _POST
        case "GET":
            return _read(request)
        case "PUT":
            return _RESERVE
        case "DELETE":
            return _END
        case _:
            return _OTHER


def graphql_routes(text: str | None) -> list[Route]:
    """The graph's routes. `text`: the schema as written, null where it is not to be read."""

    async def schema(_: web.Request) -> web.StreamResponse:
        if text is None:
            raise RequestError(Code.FORBIDDEN, "the schema cannot be read here: introspection is switched off")
        return web.Response(text=text, content_type="text/plain")

    return [
        Route(method="*", path=PATH, handler=graph, summary="The graph", choose=choose),
        Route(method="GET", path="/schema.graphql", handler=schema, summary="The schema"),
    ]


def _read(request: web.Request) -> Route:
    if request.headers.get("Upgrade", "").strip().lower() == "websocket":
        return _WEBSOCKET
    if not read_accept(request.headers.get("Accept")).only_events:
        return _GET
    return _DISTINCT_GET if token_of(request) is None else _STREAM


async def _refuse(_: web.Request) -> web.StreamResponse:
    raise RequestError(Code.METHOD_NOT_ALLOWED, f"this path takes {_METHODS}", headers={"Allow": _METHODS})


_POST: Final = Route(method="POST", path=PATH, handler=post, summary="GraphQL over HTTP", json_body=True)
_GET: Final = Route(method="GET", path=PATH, handler=get, summary="GraphQL over HTTP")
_WEBSOCKET: Final = Route(
    method="GET",
    path=PATH,
    handler=converse,
    summary="graphql-transport-ws",
    role=None,
    admission=Admission.SUBSCRIPTION,
)
_DISTINCT_POST: Final = Route(
    method="POST",
    path=PATH,
    handler=distinct,
    summary="graphql-sse",
    admission=Admission.SUBSCRIPTION,
    json_body=True,
)
_DISTINCT_GET: Final = Route(
    method="GET", path=PATH, handler=distinct, summary="graphql-sse", admission=Admission.SUBSCRIPTION
)
_STREAM: Final = Route(
    method="GET",
    path=PATH,
    handler=stream,
    summary="graphql-sse: the stream of a reservation",
    role=None,
    admission=Admission.SUBSCRIPTION,
)
_RESERVE: Final = Route(method="PUT", path=PATH, handler=reserve, summary="graphql-sse: a reservation")
_OPERATE: Final = Route(method="POST", path=PATH, handler=operate, summary="graphql-sse: an operation", json_body=True)
_END: Final = Route(method="DELETE", path=PATH, handler=end, summary="graphql-sse: end an operation")
_OTHER: Final = Route(
    method="*", path=PATH, handler=_refuse, summary="No method of the graph", role=None, admission=Admission.EXEMPT
)
