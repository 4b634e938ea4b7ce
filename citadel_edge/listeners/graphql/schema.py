"""Builds the executable schema from its contract, `schema.graphql`, and the resolvers; refuses to start with a gap."""

from functools import lru_cache
from importlib.resources import files

from graphql import GraphQLInterfaceType, GraphQLSchema, build_schema, validate_schema

from citadel_edge.errors import StartError
from citadel_edge.listeners.graphql.binding import bind
from citadel_edge.listeners.graphql.resolvers.all import MUTATIONS, NODE_TYPE, QUERIES, SUBSCRIPTIONS, TYPES


def read_schema() -> str:
    """The contract as published at `/schema.graphql`. Blocks on the disk: call it in a thread."""
    return files("citadel_edge.listeners.graphql").joinpath("schema.graphql").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def load_schema(text: str) -> GraphQLSchema:
    """The schema with its resolvers, which nothing changes: read once. Raises StartError with every unanswered field.

    Reading takes a quarter of a second: call it in a thread.
    """
    schema = build_schema(text)
    mistakes = validate_schema(schema)
    if mistakes:
        raise StartError("schema.graphql: " + "; ".join(str(mistake) for mistake in mistakes))
    gaps = bind(schema, TYPES, roots={"Query": QUERIES, "Mutation": MUTATIONS}, live=SUBSCRIPTIONS)
    if gaps:
        raise StartError("schema.graphql: " + "; ".join(gaps))
    node = schema.get_type("Node")
    if isinstance(node, GraphQLInterfaceType):
        node.resolve_type = NODE_TYPE
    return schema
