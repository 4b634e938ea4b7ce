"""`GET /v1/ws`: the `citadel.v1` WebSocket protocol; its schema; an echo for conformance suites.

Decides how a connection begins and ends: a client that leaves, a key that is revoked and a process that drains end all
of its operations. Refuses to know what they do.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from aiohttp import web

from citadel_edge.edge import EDGE, Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.groups import plain_group
from citadel_edge.listeners.common.middlewares import LISTENER, LOG
from citadel_edge.listeners.common.routes import Admission, Route, principal_of
from citadel_edge.listeners.common.websocket.connection import (
    OFFERED,
    accept,
    as_now,
    beat,
    closed,
    offered,
    part_for,
    why_closed,
)
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.listeners.streaming.websocket.closing import CODES, Close
from citadel_edge.listeners.streaming.websocket.conversation import Conversation, Work
from citadel_edge.listeners.streaming.websocket.echo import echo
from citadel_edge.listeners.streaming.websocket.generations import Generations
from citadel_edge.listeners.streaming.websocket.line import Line
from citadel_edge.listeners.streaming.websocket.messages import PROTOCOL, Chat, Resume, Subscribe
from citadel_edge.listeners.streaming.websocket.schema import schema
from citadel_edge.listeners.streaming.websocket.subscriptions import Subscriptions
from citadel_edge.streams.metrics import Transport


async def converse(request: web.Request) -> web.StreamResponse:
    """The protocol. Holds a subscription's place for as long as it is open."""
    socket, line = await _accept(request)
    with request.app[STREAMING_METRICS].connected(Transport.WEBSOCKET) as connection:
        try:
            await _talk(request, line)
        finally:
            connection.left = why_closed(line)
    return socket


def websocket_routes(*, production: bool) -> list[Route]:
    """The echo has no key and is absent in production."""
    routes = [
        Route(
            method="GET",
            path="/v1/ws",
            handler=converse,
            summary=f"WebSocket {PROTOCOL}, described at /v1/ws/schema",
            status=101,
            admission=Admission.SUBSCRIPTION,
            tickets=True,
        ),
        Route(
            method="GET",
            path="/v1/ws/schema",
            handler=schema,
            summary=f"The messages of {PROTOCOL} as JSON Schema",
            role=None,
            response={"type": "object"},
        ),
    ]
    if not production:
        routes.append(
            Route(
                method="GET",
                path="/v1/ws/echo",
                handler=echo,
                summary="WebSocket echo",
                role=None,
                status=101,
                admission=Admission.SUBSCRIPTION,
            )
        )
    return routes


async def _accept(request: web.Request) -> tuple[web.WebSocketResponse, Line]:
    wanted = offered(request)
    if wanted and PROTOCOL not in wanted:
        raise RequestError(Code.INVALID_REQUEST, f"this WebSocket speaks {PROTOCOL} alone", param=OFFERED)
    return await accept(request, Line, protocols=(PROTOCOL,), codes=CODES)


async def _talk(request: web.Request, line: Line) -> None:
    """From the first message to the last word."""
    edge, log = request.app[EDGE], request.app[LOG]
    budget = edge.budgets[request.app[LISTENER]]
    caller = partial(as_now, request, line, principal_of(request))
    generations = Generations(request, line, caller)
    subscriptions = Subscriptions(edge.hub, caller, request.app[STREAMING_METRICS], line)
    works: dict[type, Work] = {Chat: generations.chat, Resume: generations.resume, Subscribe: subscriptions.subscribe}
    async with plain_group() as group:

        def spawn(work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
            return budget.spawn(group, work, name=name)

        talk = Conversation(line, works, spawn=spawn, closed=lambda: closed(request), log=log)
        watches = [spawn(beat(line), name="ws heartbeat"), spawn(_part_at_drain(edge, talk, line), name="ws drain")]
        try:
            await line.hear(talk.take, talk.refuse)
        except asyncio.CancelledError as error:
            part_for(error, request, line)
        finally:
            for watch in watches:
                watch.cancel()
            talk.stop()
        await line.close()


async def _part_at_drain(edge: Edge, talk: Conversation, line: Line) -> None:
    """Streams that are read have the process's grace; then the client comes back elsewhere."""
    await edge.draining.wait()
    await talk.idle()
    line.part(Close.GOING_AWAY, "draining")
