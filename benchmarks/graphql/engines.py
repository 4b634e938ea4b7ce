"""Our engine, and graphql-core's, which all of them stand on: from a document's text and variables to the data.

*As it comes* parses and validates every request; *cached* remembers the parsed and validated document.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    execute,
    parse,
    validate,
)

from benchmarks.graphql import data
from benchmarks.graphql.questions import SDL
from citadel_edge.graph.compiled.operation import Compiled, compile_operation

Answer = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
OURS = "citadel-edge, compiled"
CORE = "graphql-core, cached"


class Failed(Exception):
    """An engine answered with errors."""


def root_resolvers() -> dict[str, Callable[..., Any]]:
    """Resolvers of the root; everything below is read from rows."""
    nodes, models, viewer = data.nodes(), data.models(), data.viewer()
    return {
        "nodes": lambda _source, _info, first: nodes[:first],
        "models": lambda _source, _info, capability=None: able(models, capability),
        "viewer": lambda _source, _info: viewer,
    }


def able(models: list[data.Row], capability: str | None) -> list[data.Row]:
    return [model for model in models if capability is None or capability in model["capabilities"]]


def bound_schema() -> GraphQLSchema:
    schema = build_schema(SDL)
    assert schema.query_type
    for name, resolve in root_resolvers().items():
        schema.query_type.fields[name].resolve = resolve
    return schema


def checked(schema: GraphQLSchema, text: str) -> DocumentNode:
    """The document, parsed and found valid."""
    document = parse(text)
    if mistakes := validate(schema, document):
        raise Failed(mistakes)
    return document


class GraphQLCore:
    """graphql-core's `execute`."""

    def __init__(self, *, cached: bool) -> None:
        self._schema = bound_schema()
        self._documents: dict[str, DocumentNode] | None = {} if cached else None

    def _document(self, text: str) -> DocumentNode:
        if self._documents is None:
            return checked(self._schema, text)
        if text not in self._documents:
            self._documents[text] = checked(self._schema, text)
        return self._documents[text]

    async def answer(self, text: str, variables: Mapping[str, Any]) -> Any:
        result: Any = execute(self._schema, self._document(text), variable_values=dict(variables))
        if not hasattr(result, "data"):
            result = await result
        if result.errors:
            raise Failed(result.errors)
        return result.data


class Ours:
    """Compiled operations, looked up by the text."""

    def __init__(self) -> None:
        self._schema = bound_schema()
        self._compiled: dict[str, Compiled] = {}

    def _operation(self, text: str) -> Compiled:
        found = self._compiled.get(text)
        if found is None:
            document = checked(self._schema, text)
            operation = next(one for one in document.definitions if isinstance(one, OperationDefinitionNode))
            found = compile_operation(self._schema, document, operation)
            assert found is not None
            self._compiled[text] = found
        return found

    async def answer(self, text: str, variables: Mapping[str, Any]) -> Any:
        result: Any = self._operation(text).run(None, None, variables)
        if not hasattr(result, "data"):
            result = await result
        if result.errors:
            raise Failed(result.errors)
        return result.data


def own_engines() -> dict[str, Answer]:
    """By name, the fastest first."""
    return {
        OURS: Ours().answer,
        CORE: GraphQLCore(cached=True).answer,
        "graphql-core, as it comes": GraphQLCore(cached=False).answer,
    }
