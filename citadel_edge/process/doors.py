"""The four doors: bound before anything is started, opened when the edge stands, closed together."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager

from aiohttp import web

from citadel_edge.accounts.usage import Usage
from citadel_edge.config.shape import Config, ListenerName
from citadel_edge.edge import Edge
from citadel_edge.graph.running import Graph
from citadel_edge.health.verdict import Check, Condition
from citadel_edge.listeners.common.app import build_app
from citadel_edge.listeners.common.changing import CHANGING, AccountsMetrics, Changing
from citadel_edge.listeners.common.door import Door, bind, open_door, tls_context
from citadel_edge.listeners.common.routes import REDEEM, Route
from citadel_edge.listeners.graphql.context import Parts, Reload
from citadel_edge.listeners.graphql.opening import book_of, context_of, equip, graph_of, routes_of
from citadel_edge.listeners.graphql.operation_book import OperationBook
from citadel_edge.listeners.graphql.schema import load_schema, read_schema
from citadel_edge.listeners.rate_limiting.routes import rate_limiting_routes
from citadel_edge.listeners.rate_limiting.usage import USAGE
from citadel_edge.listeners.routing.routes import routing_routes
from citadel_edge.listeners.streaming.completions import completion_routes
from citadel_edge.listeners.streaming.events import event_routes
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.listeners.streaming.streams import stream_routes
from citadel_edge.listeners.streaming.tickets import TICKETS, Tickets, ticket_routes
from citadel_edge.listeners.streaming.websocket.routes import websocket_routes
from citadel_edge.telemetry.hub import Topic

Doors = Mapping[ListenerName, Door]


@asynccontextmanager
async def bound_sockets(
    config: Config, inherited: Mapping[str, socket.socket]
) -> AsyncIterator[dict[ListenerName, socket.socket]]:
    """Four bound sockets, or StartError with none left bound. Inherited ones are taken by name."""
    with ExitStack() as stack:
        bound: dict[ListenerName, socket.socket] = {}
        for name in ListenerName:
            listener = config.listeners[name]
            tls_context(name, listener.tls)
            taken = inherited.get(name.value) or bind(name, config.bind_host(name), listener.port)
            bound[name] = stack.enter_context(taken)
        yield bound


@asynccontextmanager
async def open_doors(
    edge: Edge, bound: Mapping[ListenerName, socket.socket], *, reload: Reload | None = None
) -> AsyncIterator[Doors]:
    """Take connections on all four until the context is left. `reload`: how the configuration is read anew."""
    doors: dict[ListenerName, Door] = {}
    text = await asyncio.to_thread(read_schema)
    routes = await asyncio.to_thread(routes_of, edge.config.value, text)
    schema = await asyncio.to_thread(load_schema, text)
    graph = await asyncio.to_thread(graph_of, edge, schema)
    book = book_of(edge, graph)
    async with book.kept():
        try:
            for name, app in _apps(edge, graph, book, routes, reload).items():
                doors[name] = await open_door(
                    name,
                    app,
                    bound=bound[name],
                    listener=edge.config.value.listeners[name],
                    http=lambda: edge.config.value.http,
                    clock=edge.clock,
                )
                state = edge.board.states[name].value
                edge.hub.publish(Topic.LISTENERS, {"listener": name.value, "state": state, "url": doors[name].url})
            yield doors
        finally:
            await asyncio.gather(*(door.close() for door in doors.values()))
            graph.close()


def _apps(
    edge: Edge, graph: Graph, book: OperationBook, graph_routes: list[Route], reload: Reload | None
) -> dict[ListenerName, web.Application]:
    types = len(graph.schema.type_map)
    edge.board.glance("schema", lambda: Check(Condition.UP, f"{types} types loaded"))
    production = edge.config.value.environment == "production"
    graphql, streaming, accounts = ListenerName.GRAPHQL, ListenerName.STREAMING, ListenerName.RATE_LIMITING
    changes = AccountsMetrics(edge.registries.of(accounts))
    changing = {name: Changing(edge, name, changes.of(name)) for name in (graphql, accounts)}
    routes: dict[ListenerName, list[Route]] = {
        graphql: graph_routes,
        streaming: [
            *completion_routes(),
            *stream_routes(),
            *event_routes(),
            *ticket_routes(),
            *websocket_routes(production=production),
        ],
        ListenerName.ROUTING: routing_routes(),
        accounts: rate_limiting_routes(),
    }
    apps = {name: build_app(name, edge, each) for name, each in routes.items()}
    context = context_of(Parts(edge=edge, changing=changing[graphql], reload=reload, operations=book))
    equip(apps[graphql], graph, context, edge.registries.of(graphql))
    apps[streaming][STREAMING_METRICS] = edge.stream_metrics.of(streaming)
    apps[streaming][TICKETS] = tickets = Tickets(edge.redis, edge.directory, clock=edge.clock)
    apps[streaming][REDEEM] = tickets.redeem
    apps[accounts][CHANGING] = changing[accounts]
    apps[accounts][USAGE] = Usage(edge.postgres)
    return apps
