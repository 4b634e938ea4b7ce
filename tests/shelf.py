"""A door of graphql-api over a schema of its own, on a served edge: what transports have to cope with, and no more."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import websockets
from graphql import build_schema
from prometheus_client import CollectorRegistry
from websockets.exceptions import ConnectionClosed

from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.context import Spent
from citadel_edge.graph.running import Graph
from citadel_edge.graph.settings import GraphSettings
from citadel_edge.listeners.common.app import build_app
from citadel_edge.listeners.common.door import Door, bind, open_door
from citadel_edge.listeners.common.problems import as_request_error
from citadel_edge.listeners.graphql.opening import equip
from citadel_edge.listeners.graphql.routes import graphql_routes
from edges import Served

GRAPH = ListenerName.GRAPHQL
PROTOCOL = "graphql-transport-ws"
SCHEMA = """
directive @defer(if: Boolean! = true, label: String) on FRAGMENT_SPREAD | INLINE_FRAGMENT
directive @stream(if: Boolean! = true, label: String, initialCount: Int! = 0) on FIELD
type Query { book: Book!, books: [Book!]!, slow: String, broken: String, large(size: Int!): String!, who: String!
  rights: String! }
type Book { title: String!, pages: Int!, slow: String, late: String }
type Mutation { add(title: String!): Book! }
type Subscription { ticks(to: Int!, every: Float = 0): Int!, silent: Int!, broken: Int!, large: String!, moved: Int! }
"""


@dataclass
class Noticed:
    """One operation's context, and what its resolvers noticed."""

    request_id: str
    user: str
    rights: str
    said: list[str]
    spent: Spent = field(default_factory=Spent)


@dataclass
class Shelf:
    """The door. `said`: what resolvers of all operations noticed. `seats`: theirs. `registry`: its metrics."""

    served: Served
    door: Door
    said: list[str]
    seats: list[Any]
    registry: CollectorRegistry
    failing: list[BaseException]

    @property
    def url(self) -> str:
        return self.door.url + "/graphql"

    def figure(self, name: str, **labels: str) -> float:
        found = self.registry.get_sample_value(f"citadel_graphql_{name}", {"listener": "graphql-api", **labels})
        return found or 0.0

    async def post(self, query: str, *, accept: str = "application/json", **more: Any) -> tuple[int, Any]:
        headers = {**self.served.as_user(), "Accept": accept}
        async with self.served.client.post(self.url, json={"query": query, **more}, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def until_said(self, *words: str) -> None:
        async with asyncio.timeout(10):
            while not set(words) <= set(self.said):
                await asyncio.sleep(0.005)

    async def nothing_is_left(self) -> None:
        """No seat, no task, no byte, no connection, no subscription."""
        budget = self.served.edge.budgets[GRAPH]
        async with asyncio.timeout(10):
            while (s := budget.snapshot())["tasks"] or s["spawned"] or s["bytes"] or len(self.served.edge.presence):
                await asyncio.sleep(0.005)
        for transport in ("http", "websocket", "sse"):
            assert self.figure("subscriptions", transport=transport) == 0


@asynccontextmanager
async def shelf_on(served: Served, settings: GraphSettings | None = None) -> AsyncIterator[Shelf]:
    """The door, open. An exception put into `failing` is raised by the next operation's context."""
    edge, said, seats, failing, registry = served.edge, [], [], [], CollectorRegistry()

    def context(caller):
        if failing:
            raise failing.pop()
        seats.append(caller.seat)
        who = caller.principal
        return Noticed(caller.request_id, who.user_id, f"{who.role} of {who.tier}", said)

    graph = Graph(
        _schema(), clock=edge.clock, log=edge.logs.logger(GRAPH.value), settings=settings, told=as_request_error
    )
    app = build_app(GRAPH, edge, graphql_routes(SCHEMA))
    equip(app, graph, context, registry)
    door = await open_door(
        GRAPH,
        app,
        bound=bind(GRAPH, "127.0.0.1", 0),
        listener=edge.config.value.listeners[GRAPH],
        http=lambda: edge.config.value.http,
        clock=edge.clock,
    )
    try:
        yield Shelf(served, door, said, seats, registry, failing)
    finally:
        await door.close()
        graph.close()


class Socket:
    """A connection of graphql-transport-ws."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self, within_s: float = 10) -> Any:
        return json.loads(await asyncio.wait_for(self.socket.recv(), within_s))

    async def begin(self, who: dict[str, str]) -> None:
        await self.say(type="connection_init", payload=who)
        assert await self.hear() == {"type": "connection_ack"}

    async def subscribe(self, identity: str, query: str, **more: Any) -> None:
        await self.say(type="subscribe", id=identity, payload={"query": query, **more})

    async def rest(self, identity: str) -> list[Any]:
        """All messages of an operation up to its last."""
        found = []
        while not found or found[-1]["type"] not in {"complete", "error"}:
            message = await self.hear()
            assert message["id"] == identity
            found.append(message)
        return found

    async def closed(self) -> tuple[int, str]:
        """Hear all there is; the code and the reason that end it."""
        with suppress(ConnectionClosed):
            while True:
                await self.hear()
        received = self.socket.protocol.close_rcvd
        assert received is not None, "the connection was cut"
        return received.code, received.reason


@asynccontextmanager
async def talking(url: str, *, init: dict[str, str] | None = None, **options: Any) -> AsyncIterator[Socket]:
    """A connection; with `init` it is acknowledged."""
    options = {"subprotocols": [PROTOCOL], "proxy": None, **options}
    async with websockets.connect(url.replace("http", "ws", 1), **options) as socket:
        found = Socket(socket)
        if init is not None:
            await found.begin(init)
        yield found


async def _slow(_, info):
    said = info.context.said
    said.append("began")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        said.append("cancelled")
        raise
    return "late"


async def _late(_, __):
    await asyncio.sleep(0.4)
    return "late"


def _broken(_, __):
    raise ValueError("the password is hunter2")


async def _ticks(_, info, to, every):
    said = info.context.said
    try:
        for number in range(to):
            said.append(f"tick {number}")
            yield {"ticks": number}
            await asyncio.sleep(every)
    finally:
        said.append("closed")


async def _silent(_, info):
    said = info.context.said
    said.append("began")
    try:
        await asyncio.sleep(30)
        yield {"silent": 1}
    finally:
        said.append("closed")


async def _broken_events(_, __):
    yield {"broken": 1}
    raise ValueError("the password is hunter2")


async def _large(_, info):
    try:
        while True:
            info.context.said.append("large")
            yield {"large": "x" * 100_000}
            await asyncio.sleep(0)
    finally:
        info.context.said.append("closed")


async def _moved(_, info):
    """Live state that ends with the process."""
    yield {"moved": 1}
    while "drained" not in info.context.said:
        await asyncio.sleep(0.01)
    raise RequestError(Code.LISTENER_STOPPED, "this process drains")


BOOK = {"title": "A Book", "pages": 7}
RESOLVERS = {
    "Query": {
        "book": lambda *_: BOOK,
        "books": lambda *_: [BOOK] * 3,
        "slow": _slow,
        "broken": _broken,
        "large": lambda _, __, size: "x" * size,
        "who": lambda _, info: info.context.user,
        "rights": lambda _, info: info.context.rights,
    },
    "Book": {"slow": _slow, "late": _late},
    "Mutation": {"add": lambda _, __, title: {**BOOK, "title": title}},
}
SOURCES = {"ticks": _ticks, "silent": _silent, "broken": _broken_events, "large": _large, "moved": _moved}


def _schema():
    schema = build_schema(SCHEMA)
    for name, fields in RESOLVERS.items():
        for field_name, resolve in fields.items():
            schema.get_type(name).fields[field_name].resolve = resolve
    for name, source in SOURCES.items():
        schema.subscription_type.fields[name].subscribe = source
    return schema
