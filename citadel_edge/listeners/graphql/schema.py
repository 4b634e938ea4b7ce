"""Builds the executable schema from its contract, `schema.graphql`, and the resolvers; refuses to start with a gap."""

from collections.abc import Mapping
from importlib.resources import files

from graphql import GraphQLObjectType, GraphQLSchema, build_schema, validate_schema

from citadel_edge.errors import StartError
from citadel_edge.listeners.graphql.resolvers import QUERIES, Resolver

TYPE_NAMES = ("Query",)


def read_schema() -> str:
    """The contract as published at `/schema.graphql`. Blocks on the disk: call it in a thread."""
    return files("citadel_edge.listeners.graphql").joinpath("schema.graphql").read_text(encoding="utf-8")


def load_schema(text: str) -> GraphQLSchema:
    """The schema with its resolvers. Raises StartError when a root field has none, or a resolver no field."""
    schema = build_schema(text)
    mistakes = validate_schema(schema)
    if mistakes:
        raise StartError("schema.graphql: " + "; ".join(str(mistake) for mistake in mistakes))
    query = schema.query_type
    if query is None:
        raise StartError("schema.graphql has no type Query")
    _bind(query, QUERIES)
    return schema


def _bind(root: GraphQLObjectType, resolvers: Mapping[str, Resolver]) -> None:
    gaps = set(root.fields) ^ set(resolvers)
    if gaps:
        raise StartError(f"{root.name}: fields and resolvers do not match: {', '.join(sorted(gaps))}")
    for name, field in root.fields.items():
        field.resolve = resolvers[name]
