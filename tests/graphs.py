"""The graph asked without a transport: the schema with its resolvers, over a served edge, in anybody's name."""

import asyncio
import contextlib
import gc
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

from graphql import (
    ExecutionResult,
    GraphQLEnumType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_required_argument,
    parse,
    subscribe,
    validate,
)
from graphql.execution import experimental_execute_incrementally
from prometheus_client import CollectorRegistry

from citadel_edge.accounts.principal import Principal
from citadel_edge.config.shape import ListenerName
from citadel_edge.listeners.common.changing import AccountsMetrics, Changing
from citadel_edge.listeners.graphql.context import Context, Parts
from citadel_edge.listeners.graphql.schema import load_schema, read_schema
from edges import Served

GRAPH = ListenerName.GRAPHQL


@dataclass
class Graph:
    """What is asked, and how. `noted`: facts that operations left for the log."""

    schema: GraphQLSchema
    parts: Parts
    admin: Principal
    user: Principal
    noted: list[dict[str, Any]] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)

    def context(self, who: Principal | None = None) -> Context:
        return Context(
            parts=self.parts,
            principal=who or self.admin,
            request_id="req_test",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            note=lambda facts: self.noted.append(dict(facts)),
        )

    def document(self, query: str) -> Any:
        if query not in self.documents:
            self.documents[query] = parse(query)
            assert validate(self.schema, self.documents[query]) == []
        return self.documents[query]

    async def result(
        self, query: str, *, who: Principal | None = None, context: Context | None = None, **variables: Any
    ) -> ExecutionResult:
        done = experimental_execute_incrementally(
            self.schema,
            self.document(query),
            context_value=context or self.context(who),
            variable_values=variables,
        )
        return await done if isawaitable(done) else done

    async def ask(self, query: str, *, who: Principal | None = None, **variables: Any) -> Any:
        """The data of an answer without errors."""
        result = await self.result(query, who=who, **variables)
        assert result.errors is None, result.errors
        return result.data

    @asynccontextmanager
    async def hear(
        self, query: str, *, who: Principal | None = None, context: Context | None = None, **variables: Any
    ) -> AsyncIterator[AsyncIterator[ExecutionResult]]:
        """A subscription's events, closed when the context is left."""
        stream = subscribe(
            self.schema,
            self.document(query),
            context_value=context or self.context(who),
            variable_values=variables,
        )
        stream = await stream if isawaitable(stream) else stream
        assert not isinstance(stream, ExecutionResult), stream.errors
        try:
            yield stream
        finally:
            await stream.aclose()


def schema() -> GraphQLSchema:
    """The contract with its resolvers. Blocks on the disk."""
    return load_schema(read_schema())


async def graph_over(served: Served, *, reload: Any = None) -> Graph:
    """Of this edge."""
    changing = Changing(served.edge, GRAPH, AccountsMetrics(CollectorRegistry()).of(GRAPH))
    directory = served.edge.directory
    return Graph(
        await asyncio.to_thread(schema),
        Parts(edge=served.edge, changing=changing, reload=reload),
        await directory.authenticate(served.keys.admin_key),
        await directory.authenticate(served.keys.demo_key),
    )


def everything(kind: Any, *, depth: int, seen: tuple[str, ...] = ()) -> str:
    """A selection of all that a type has, to a depth, each type once on a way."""
    kind = get_named_type(kind)
    if is_leaf_type(kind):
        return ""
    if is_abstract_type(kind):
        return "{ __typename id }"
    wanted = []
    for name, each in kind.fields.items():
        inner = get_named_type(each.type)
        if any(is_required_argument(argument) for argument in each.args.values()):
            continue
        if is_leaf_type(inner):
            wanted.append(name)
        elif depth > 1 and inner.name not in seen:
            chosen = everything(inner, depth=depth - 1, seen=(*seen, kind.name))
            if chosen:
                wanted.append(f"{name} {chosen}")
    return "{ " + " ".join(wanted) + " }" if wanted else ""


def objects(schema: GraphQLSchema) -> list[GraphQLObjectType]:
    return [
        kind
        for name, kind in schema.type_map.items()
        if isinstance(kind, GraphQLObjectType) and not name.startswith("__")
    ]


def enums(schema: GraphQLSchema) -> list[GraphQLEnumType]:
    return [
        kind
        for name, kind in schema.type_map.items()
        if isinstance(kind, GraphQLEnumType) and not name.startswith("__")
    ]


def open_generators() -> list[Any]:
    """The graph's own async generators that are not over; what is entered with `async with` is none."""
    gc.collect()
    there = gc.get_objects()
    entered = {id(one.gen) for one in there if isinstance(one, contextlib._AsyncGeneratorContextManager)}
    found = [one for one in there if inspect.isasyncgen(one) and one.ag_frame is not None and id(one) not in entered]
    ours = ("citadel_edge/listeners/graphql/", "site-packages/graphql/")
    return [one for one in found if any(part in one.ag_code.co_filename for part in ours)]
