"""`GET /v1/ws`: the `citadel.v1` WebSocket protocol; its schema; an echo for conformance suites.

Decides how a connection begins and ends: a client that leaves, a key that is revoked and a process that drains end all
of its operations. Refuses to know what they do.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from citadel_edge.accounts.presence import Reason, reason_of
from citadel_edge.edge import EDGE, Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.groups import plain_group
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.common.middlewares import LISTENER, LOG
from citadel_edge.listeners.common.protocol import DoorProtocol
from citadel_edge.listeners.common.routes import Admission, Route, principal_of
from citadel_edge.listeners.common.sink import ClientGone
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.listeners.streaming.websocket.closing import Close
from citadel_edge.listeners.streaming.websocket.conversation import Conversation, Work
from citadel_edge.listeners.streaming.websocket.echo import echo
from citadel_edge.listeners.streaming.websocket.generations import Generations
from citadel_edge.listeners.streaming.websocket.line import CLOSE_WITHIN_S, Line
from citadel_edge.listeners.streaming.websocket.messages import PROTOCOL, Chat, Resume, Subscribe
from citadel_edge.listeners.streaming.websocket.schema import schema
from citadel_edge.listeners.streaming.websocket.subscriptions import Subscriptions
from citadel_edge.streams.metrics import Left, Transport

_OFFERED: Final = "Sec-WebSocket-Protocol"
_ENDS: Final = {Reason.REVOKED: Close.KEY_ENDED, Reason.DRAINING: Close.GOING_AWAY}
_LEFT: Final = {Close.GOING_AWAY: Left.DRAINING, Close.KEY_ENDED: Left.KEY, Close.SLOW: Left.SLOW}


async def converse(request: web.Request) -> web.StreamResponse:
    """The protocol. Holds a subscription's place for as long as it is open."""
    socket, line = await _accept(request)
    with request.app[STREAMING_METRICS].connected(Transport.WEBSOCKET) as connection:
        try:
            await _talk(request, line)
        finally:
            connection.left = _left(line)
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
    offered = [name.strip() for name in request.headers.get(_OFFERED, "").split(",") if name.strip()]
    if offered and PROTOCOL not in offered:
        raise RequestError(Code.INVALID_REQUEST, f"this WebSocket speaks {PROTOCOL} alone", param=_OFFERED)
    edge = request.app[EDGE]
    socket = web.WebSocketResponse(
        protocols=(PROTOCOL,),
        max_msg_size=edge.config.value.http.max_body_bytes,
        compress=False,
        autoping=False,
        autoclose=False,
        timeout=CLOSE_WITHIN_S,
    )
    await socket.prepare(request)
    if request.transport is None:
        raise ClientGone("the client left while it was let in")
    line = Line(socket, request.transport, edge.budgets[request.app[LISTENER]])
    if isinstance(request.protocol, DoorProtocol):
        request.protocol.on_bytes = line.came
    return socket, line


async def _talk(request: web.Request, line: Line) -> None:
    """From the first message to the last word."""
    edge, log = request.app[EDGE], request.app[LOG]
    budget = edge.budgets[request.app[LISTENER]]
    generations = Generations(request, line)
    subscriptions = Subscriptions(edge.hub, principal_of(request), request.app[STREAMING_METRICS], line)
    works: dict[type, Work] = {Chat: generations.chat, Resume: generations.resume, Subscribe: subscriptions.subscribe}
    async with plain_group() as group:

        def spawn(work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
            return budget.spawn(group, work, name=name)

        talk = Conversation(line, works, spawn=spawn, closed=lambda: _closed(request), log=log)
        watches = [spawn(_beat(line), name="ws heartbeat"), spawn(_part_at_drain(edge, talk, line), name="ws drain")]
        try:
            await line.hear(talk.take, talk.refuse)
        except asyncio.CancelledError as error:
            _part_for(error, request, line)
        finally:
            for watch in watches:
                watch.cancel()
            talk.stop()
        await line.close()


def _closed(request: web.Request) -> bool:
    """Whether nothing new is begun here."""
    edge = request.app[EDGE]
    return edge.draining.is_set() or edge.board.states[request.app[LISTENER]] is not ListenerState.RUNNING


async def _beat(line: Line) -> None:
    with suppress(ClientGone):
        await line.beat()


async def _part_at_drain(edge: Edge, talk: Conversation, line: Line) -> None:
    """Streams that are read have the process's grace; then the client comes back elsewhere."""
    await edge.draining.wait()
    await talk.idle()
    line.part(Close.GOING_AWAY, "draining")


def _part_for(error: asyncio.CancelledError, request: web.Request, line: Line) -> None:
    """Say why we end it ourselves, unless that is being said already; a client that left hears nothing."""
    reason, task = reason_of(error), asyncio.current_task()
    if request.transport is None or task is None or (reason is None and line.goodbye is None):
        raise error
    while task.cancelling():
        task.uncancel()
    if reason is not None:
        line.part(_ENDS[reason], reason.value)


def _left(line: Line) -> Left:
    if line.goodbye is not None:
        return _LEFT.get(line.goodbye.code, Left.CLIENT)
    if line.broken:
        return Left.PROTOCOL
    return Left.DONE if line.closed else Left.CLIENT
