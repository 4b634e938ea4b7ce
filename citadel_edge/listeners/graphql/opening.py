"""The graph put together from its parts and its configuration, and handed to the door.

Decides what the environment allows where the configuration is silent: in production nobody reads the schema, and there
is no playground. Refuses to know what resolvers do and how operations run.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web
from graphql import GraphQLSchema
from prometheus_client import CollectorRegistry

from citadel_edge.accounts.principal import Principal
from citadel_edge.config.shape import Config, ListenerName
from citadel_edge.edge import EDGE, Edge
from citadel_edge.graph.compiled.operation import compile_operation
from citadel_edge.graph.compiled.pacing import Pace
from citadel_edge.graph.cost_annotations import Measure
from citadel_edge.graph.running import Graph
from citadel_edge.graph.settings import GraphSettings
from citadel_edge.graph.trusted import Trust, read_trusted
from citadel_edge.listeners.common.routes import Route
from citadel_edge.listeners.graphql.context import Context, Parts
from citadel_edge.listeners.graphql.metrics import GraphQLMetrics
from citadel_edge.listeners.graphql.operation_book import OperationBook
from citadel_edge.listeners.graphql.playground.files import read_playground
from citadel_edge.listeners.graphql.playground.routes import playground_routes
from citadel_edge.listeners.graphql.reservations import Reservations
from citadel_edge.listeners.graphql.resolvers.told import told_by_its_names
from citadel_edge.listeners.graphql.routes import graphql_routes
from citadel_edge.listeners.graphql.service import SERVICE, Caller, ContextOf, Service
from citadel_edge.listeners.graphql.single import RESERVATIONS
from citadel_edge.listeners.graphql.usage_price import usage_price

GRAPHQL = ListenerName.GRAPHQL
MEASURES: Final = {"Query.usage": usage_price}


def graph_of(edge: Edge, schema: GraphQLSchema, measures: Mapping[str, Measure] = MEASURES) -> Graph:
    """The engine over a schema, as configured. Blocks on the disk where documents are trusted. Raises StartError."""
    config = edge.config.value
    settings = replace(settings_of(config, documents=config.graphql.documents), measures=measures)
    pace = Pace(edge.clock.monotonic_s)
    return Graph(
        schema,
        clock=edge.clock,
        log=edge.logs.logger(GRAPHQL.value),
        settings=settings,
        told=told_by_its_names,
        compiler=partial(compile_operation, pace=pace, hide_suggestions=not settings.introspection),
    )


def book_of(edge: Edge, graph: Graph) -> OperationBook:
    """Where is kept what clients ask of the graph."""
    log = edge.logs.logger(GRAPHQL.value)
    return OperationBook(graph.patterns, edge.postgres, run=edge.instances.name, clock=edge.clock, log=log)


def settings_of(config: Config, *, documents: Path) -> GraphSettings:
    """What the engine may do. Blocks on the disk where documents are trusted. Raises StartError."""
    graphql, trust = config.graphql, Trust(config.graphql.trusted_documents)
    return GraphSettings(
        introspection=allowed(graphql.introspection, config),
        trust=trust,
        trusted={} if trust is Trust.OFF else read_trusted(documents),
        query_timeout_s=graphql.query_timeout_s,
        event_timeout_s=graphql.query_timeout_s,
    )


def routes_of(config: Config, schema_text: str) -> list[Route]:
    """The door's routes, as configured. Blocks on the disk where there is a playground. Raises StartError."""
    readable, playground = (allowed(each, config) for each in (config.graphql.introspection, config.graphql.playground))
    routes = graphql_routes(schema_text if readable else None)
    return [*routes, *(playground_routes(read_playground()) if playground else ())]


def equip(app: web.Application, graph: Graph, context: ContextOf, registry: CollectorRegistry) -> None:
    """Give graphql-api's application what its routes work with."""
    edge = app[EDGE]
    budget = edge.budgets[GRAPHQL]

    def cost_limit(principal: Principal) -> float:
        limits = edge.config.value.graphql
        return limits.cost_limits.get(principal.tier, limits.cost_limit)

    app[SERVICE] = Service(
        graph,
        context=context,
        budget=budget,
        metrics=GraphQLMetrics(registry, edge.clock, graph.documents.tally),
        cost_limit=cost_limit,
    )
    app[RESERVATIONS] = Reservations(budget, most=lambda: edge.config.value.http.max_subscriptions)


def context_of(parts: Parts) -> ContextOf:
    """What resolvers find, from what a transport knows of the caller."""

    def make(caller: Caller) -> Context:
        return Context(
            parts=parts,
            principal=caller.principal,
            request_id=caller.request_id,
            traceparent=caller.trace.header,
            seat=caller.seat,
            hold=caller.hold,
            note=caller.facts.update,
        )

    return make


def allowed(configured: bool | None, config: Config) -> bool:  # noqa: FBT001 - null is a third value
    """Whether there is what the configuration may leave to the environment: the schema's reading, the playground."""
    return config.environment != "production" if configured is None else configured
