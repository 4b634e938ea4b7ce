"""`GET /v1/ws`: the `citadel.v1` WebSocket protocol, and an echo for conformance suites.

Many operations on one connection. A message that is wrong gets an `error`; the connection lives on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from citadel_edge.accounts.principal import Role
from citadel_edge.edge import EDGE, Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.routes import Admission, Route, principal_of
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.listeners.streaming.topics import event_of, parse_topics
from citadel_edge.listeners.streaming.websocket.echo import echo
from citadel_edge.streams.metrics import Transport

PROTOCOL = "citadel.v1"
HEARTBEAT_S = 15.0
SEND_WITHIN_S = 30.0
MAX_MESSAGE_BYTES = 1 << 20
MAX_OPERATIONS = 100
CODE_GOING_AWAY = 1001


class Frame(msgspec.Struct):
    """What a client sends. Fields beyond these belong to the operation."""

    id: str
    type: str
    topics: list[str] = []


class Conversation:
    """One client's operations on one connection."""

    def __init__(self, edge: Edge, role: Role, socket: web.WebSocketResponse, spawn: Callable[..., Any]) -> None:
        self._edge = edge
        self._role = role
        self._socket = socket
        self._spawn = spawn
        self._running: dict[str, asyncio.Task[None]] = {}
        self._operations: dict[str, Callable[[Frame], Awaitable[None]]] = {
            "ping": self._ping,
            "subscribe": self._subscribe,
            "cancel": self._cancel,
        }

    async def take(self, text: str) -> None:
        """Do what a message asks, or say why not."""
        identity = None
        try:
            frame = _frame(text)
            identity = frame.id
            operation = self._operations.get(frame.type)
            await (operation or self._unknown)(frame)
        except RequestError as error:
            await self._send({"id": identity, "type": "error", "code": error.code.text, "message": error.message})

    def stop(self) -> None:
        """Cancel what runs."""
        for task in self._running.values():
            task.cancel()

    async def _unknown(self, frame: Frame) -> None:
        known = ", ".join(self._operations)
        raise RequestError(Code.INVALID_REQUEST, f"unknown type {frame.type[:40]!r}; known are {known}")

    async def _ping(self, frame: Frame) -> None:
        await self._send({"id": frame.id, "type": "pong"})

    async def _subscribe(self, frame: Frame) -> None:
        if not self._role.may(Role.OPERATOR):
            raise RequestError(Code.FORBIDDEN, f"subscribing needs the role operator; this key's user has {self._role}")
        if frame.id in self._running:
            raise RequestError(Code.CONFLICT, f"the id {frame.id[:40]!r} is taken by a running operation")
        if len(self._running) >= MAX_OPERATIONS:
            raise RequestError(Code.OVERLOADED, f"at most {MAX_OPERATIONS} operations run on one connection")
        topics = parse_topics(frame.topics)
        await self._send({"id": frame.id, "type": "ack"})
        task = self._spawn(self._relay(frame.id, topics), name=f"ws-subscribe-{frame.id[:40]}")
        self._running[frame.id] = task
        task.add_done_callback(lambda _: self._running.pop(frame.id, None))

    async def _cancel(self, frame: Frame) -> None:
        task = self._running.pop(frame.id, None)
        if task is None:
            raise RequestError(Code.NOT_FOUND, f"no operation {frame.id[:40]!r} is running")
        task.cancel()
        await self._send({"id": frame.id, "type": "done", "outcome": "cancelled"})

    async def _relay(self, identity: str, topics: frozenset[Any]) -> None:
        with self._edge.hub.subscribe(topics) as subscription:
            async for news in subscription:
                topic, data = event_of(news)
                await self._send({"id": identity, "type": "event", "topic": topic, **data})
        await self._send({"id": identity, "type": "done", "outcome": "done"})

    async def _send(self, message: dict[str, Any]) -> None:
        async with asyncio.timeout(SEND_WITHIN_S):
            await self._socket.send_str(msgspec.json.encode(message).decode())


async def converse(request: web.Request) -> web.StreamResponse:
    """The protocol. Holds a subscription's place for as long as it is open."""
    edge = request.app[EDGE]
    socket = web.WebSocketResponse(
        protocols=(PROTOCOL,), heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False
    )
    await socket.prepare(request)
    budget = edge.budgets[request.app[LISTENER]]
    async with asyncio.TaskGroup() as group:

        def spawn(work: Any, *, name: str) -> asyncio.Task[None]:
            return budget.spawn(group, work, name=name)

        talk = Conversation(edge, principal_of(request).role, socket, spawn)
        watch = spawn(_close_at_drain(edge, socket), name="ws-drain")
        try:
            with request.app[STREAMING_METRICS].connected(Transport.WEBSOCKET):
                await _listen(socket, talk)
        finally:
            watch.cancel()
            talk.stop()
    return socket


def websocket_routes(*, production: bool) -> list[Route]:
    """The echo has no key and is absent in production."""
    socket = Admission.SUBSCRIPTION
    routes = [
        Route(
            method="GET",
            path="/v1/ws",
            handler=converse,
            summary="WebSocket citadel.v1",
            status=101,
            admission=socket,
            tickets=True,
        )
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
                admission=socket,
            )
        )
    return routes


async def _listen(socket: web.WebSocketResponse, talk: Conversation) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await talk.take(message.data)
        elif message.type is WSMsgType.BINARY:
            await talk.take("")


async def _close_at_drain(edge: Edge, socket: web.WebSocketResponse) -> None:
    """Tell the client to come back elsewhere when the process drains."""
    await edge.draining.wait()
    await socket.close(code=CODE_GOING_AWAY, message=b"draining")


def _frame(text: str) -> Frame:
    try:
        return msgspec.json.decode(text, type=Frame)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RequestError(Code.INVALID_REQUEST, f"a message is a JSON object with id and type: {error}") from error
