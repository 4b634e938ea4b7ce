"""Strawberry: the same schema from its types, the same data as their instances."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import strawberry
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.utils.str_converters import to_snake_case

from benchmarks.graphql import data
from benchmarks.graphql.engines import Answer, Failed


@strawberry.enum
class Role(Enum):
    USER = "USER"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"


@strawberry.enum
class Capability(Enum):
    TOOLS = "TOOLS"
    VISION = "VISION"


@strawberry.type
class Node:
    id: strawberry.ID
    name: str
    number: int
    weight: float
    active: bool
    role: Role
    note: str | None


@strawberry.type
class Replica:
    id: strawberry.ID
    engine: str
    state: str
    healthy: bool
    in_flight: int
    slots: int


@strawberry.type
class Model:
    name: str
    aliases: list[str]
    context_tokens: int
    capabilities: list[Capability]
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    replicas: list[Replica]


@strawberry.type
class Viewer:
    id: strawberry.ID
    name: str
    role: Role
    tier: str


def _of(cls: Any, row: data.Row, **special: Any) -> Any:
    return cls(**{to_snake_case(key): value for key, value in row.items()} | special)


NODES = [_of(Node, row, role=Role(row["role"])) for row in data.nodes()]
MODELS = [
    _of(
        Model,
        row,
        capabilities=[Capability(name) for name in row["capabilities"]],
        replicas=[_of(Replica, replica) for replica in row["replicas"]],
    )
    for row in data.models()
]
VIEWER = _of(Viewer, data.viewer(), role=Role.ADMIN)


@strawberry.type
class Query:
    @strawberry.field
    def nodes(self, first: int) -> list[Node]:
        return NODES[:first]

    @strawberry.field
    def models(self, capability: Capability | None = None) -> list[Model]:
        return [model for model in MODELS if capability is None or capability in model.capabilities]

    @strawberry.field
    def viewer(self) -> Viewer:
        return VIEWER


def engines() -> dict[str, Answer]:
    """With its caches of parsed and of validated documents, and without."""
    return {
        "Strawberry, cached": _answer(schema(cached=True)),
        "Strawberry, as it comes": _answer(schema(cached=False)),
    }


def schema(*, cached: bool) -> strawberry.Schema:
    """With its caches of parsed and of validated documents, or without."""
    return strawberry.Schema(Query, extensions=[ParserCache, ValidationCache] if cached else [])


def _answer(schema: strawberry.Schema) -> Answer:
    async def answer(text: str, variables: Mapping[str, Any]) -> Any:
        result = await schema.execute(text, variable_values=dict(variables))
        if result.errors:
            raise Failed(result.errors)
        return result.data

    return answer
