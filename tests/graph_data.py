"""Data made up at random for a document: recipes, from which the same data can be made twice."""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
)

from graph_asking import chance
from graph_world import (
    Awaitable,
    Base,
    CallableObject,
    Computed,
    Dynamic,
    Extended,
    Level,
    OwnMapping,
    Pretender,
    Struct,
    Trouble,
)

Make = Callable[[], Any]
RIGHT: dict[str, list[Any]] = {
    "String": ["text", "", "é"],
    "ID": ["id", "5", 7],
    "Int": [5, 0, -(2**31)],
    "Float": [1.5, 2, 0.0, -3],
    "Boolean": [True, False],
    "Role": ["USER", "ADMIN"],
    "Level": [Level.LOW, Level.HIGH],
    "Moment": ["now", 5, "list"],
    "Fickle": ["plain", "await", "object"],
}
WRONG: dict[str, list[Any]] = {
    "String": [3, 2.5, True, math.nan, [1], {"a": 1}, b"x", Decimal("1.5"), Level.LOW],
    "ID": [5.0, 5.5, True, [], Decimal(4)],
    "Int": [2**31, "7", "x", 3.0, 3.5, True, Decimal(4), "", math.inf],
    "Float": [2**60 + 1, 2**53 + 1, math.inf, math.nan, "2.5", "x", True, Decimal("0.5")],
    "Boolean": [1, 0.0, "x", math.nan],
    "Role": ["NOPE", 1, [], True],
    "Level": ["LOW", 1, [1], True],
    "Moment": ["bad", "none", "undefined", {"a": 1}],
    "Fickle": ["fail", (1, 2)],
}


def _raising(_info: Any, **_arguments: Any) -> Any:
    raise Trouble("raised")


def _raising_extended(_info: Any, **_arguments: Any) -> Any:
    raise Extended


def _cancelled(_info: Any, **_arguments: Any) -> Any:
    raise asyncio.CancelledError


async def _raised_later() -> Any:
    await asyncio.sleep(0)
    raise Trouble("raised later")


def _failed_future() -> Any:
    future = asyncio.get_running_loop().create_future()
    future.set_exception(Trouble("a future"))
    future.exception()  # looked at, whether or not it will be awaited
    return future


async def _cancelled_later() -> Any:
    await asyncio.sleep(0)
    raise asyncio.CancelledError


async def _later(value: Any, turns: int) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


def _callable(make: Make) -> Any:
    return lambda _info, **_arguments: make()


def _async_callable(make: Make, turns: int) -> Any:
    async def later(_info: Any, **_arguments: Any) -> Any:
        return await _later(make(), turns)

    return later


ODD: list[Make] = [
    lambda: None,
    lambda: Undefined,
    lambda: Trouble("returned"),
    Extended,
    lambda: 5,
    lambda: "text",
    CallableObject,
    dict,
    list,
    lambda: _raising,
    lambda: _raising_extended,
    _raised_later,
    _failed_future,
]
RARE: list[Make] = [lambda: _cancelled, _cancelled_later]
"""What ends the whole run."""


@dataclass
class Data:
    """Makes recipes. `trouble`: the share of oddities, in percent; `slow`: of what must be awaited."""

    schema: GraphQLSchema
    document: DocumentNode
    rng: Random
    trouble: int
    slow: int

    def __post_init__(self) -> None:
        definitions = self.document.definitions
        self.fragments = {one.name.value: one for one in definitions if isinstance(one, FragmentDefinitionNode)}

    def root(self) -> Make:
        operation = next(one for one in self.document.definitions if isinstance(one, OperationDefinitionNode))
        type_ = self.schema.get_root_type(operation.operation)
        assert type_
        return self.object_of(type_, [operation])

    def value(self, type_: Any, nodes: list[Any]) -> Make:
        """A recipe for a field's or an item's value, wrapped in this and that."""
        rng = self.rng
        if chance(rng, self.trouble):
            return rng.choice(RARE if chance(rng, 2) else ODD)
        make = self.completed(get_nullable_type(type_), nodes)
        if type_ is get_nullable_type(type_) and chance(rng, 12):
            return lambda: None
        if chance(rng, self.slow):
            turns = rng.randrange(4)
            ways: list[Make] = [
                lambda: _later(make(), turns),
                lambda: _async_callable(make, turns),
                lambda: Awaitable(make()),
            ]
            return rng.choice(ways)
        return (lambda: _callable(make)) if chance(rng, 4) else make

    def completed(self, type_: Any, nodes: list[Any]) -> Make:
        if is_list_type(type_):
            return self.list_of(type_.of_type, nodes)
        if is_leaf_type(type_):
            value = self.rng.choice((WRONG if chance(self.rng, self.trouble) else RIGHT)[type_.name])
            return lambda: value
        if is_abstract_type(type_):
            return self.object_of(self.rng.choice(self.schema.get_possible_types(type_)), nodes, abstract=True)
        return self.object_of(type_, nodes)

    def list_of(self, item: Any, nodes: list[Any]) -> Make:
        rng = self.rng
        makes = [self.value(item, nodes) for _ in range(rng.choice([0, 1, 2, 3]))]
        breaks = chance(rng, self.trouble)

        def items() -> Iterator[Any]:
            for make in makes:
                yield make()
            if breaks:
                raise Trouble("an iterator")

        async def async_items() -> AsyncIterator[Any]:
            for make in makes:
                yield make()
            if breaks:
                raise Trouble("an async iterator")

        def together() -> list[Any]:
            return [make() for make in makes]

        rare: list[Make] = [items, async_items, lambda: deque(together()), lambda: dict(enumerate(together())).values()]
        rare.append(lambda: dict(enumerate(together())))
        return rng.choice(rare) if chance(rng, 15) else rng.choice([together, together, lambda: tuple(together())])

    def object_of(self, type_: Any, nodes: list[Any], *, abstract: bool = False) -> Make:
        rng = self.rng
        makes: dict[str, Make] = {}
        for name, below in self.names(nodes).items():
            if name in type_.fields and not chance(rng, self.trouble // 2):
                makes[name] = self.value(type_.fields[name].type, below)
        fixed = self.claims(type_, abstract=abstract)
        container = rng.choice(CONTAINERS)
        return lambda: container({**{name: make() for name, make in makes.items()}, **fixed})

    def claims(self, type_: Any, *, abstract: bool) -> dict[str, Any]:
        """What an object says of its own type."""
        rng = self.rng
        wrong = chance(rng, self.trouble)
        name = rng.choice(["Plain", "Nope", "Role", None, 5, "Trouble", "Any"]) if wrong else type_.name
        typed = rng.choice([False, "raise"]) if wrong else type_.name == "Typed"
        claims = {"kind": name, "typed": typed, "wait": chance(rng, self.slow)}
        if abstract and (type_.name != "Typed" or chance(rng, 50)):
            claims["__typename"] = name
        return claims

    def names(self, nodes: list[Any]) -> dict[str, list[Any]]:
        """The fields that may be read below some nodes, with the nodes that name them."""
        found: dict[str, list[Any]] = {}
        left = [node.selection_set for node in nodes if node.selection_set]
        while left:
            for selection in left.pop().selections:
                if isinstance(selection, FragmentSpreadNode):
                    left.append(self.fragments[selection.name.value].selection_set)
                elif hasattr(selection, "alias"):
                    found.setdefault(selection.name.value, []).append(selection)
                else:
                    left.append(selection.selection_set)
        return found


def _attributes(values: dict[str, Any]) -> Any:
    typename = values.pop("__typename", None)
    made = type("Base", (Base,), {})() if typename is None else type("Base", (Base,), {"_Base__typename": typename})()
    made.__dict__.update(values)
    return made


def _computed(values: dict[str, Any]) -> Any:
    made = Computed(values)
    made.__dict__.update(
        {name: value for name, value in values.items() if not hasattr(Computed, name) and name != "values"}
    )
    return made


def _struct(values: dict[str, Any]) -> Any:
    fits = {name: value for name, value in values.items() if name in Struct.__struct_fields__}
    return Struct(**fits)


def _dynamic(values: dict[str, Any]) -> Any:
    return Dynamic(values)


CONTAINERS: list[Callable[[dict[str, Any]], Any]] = [
    *([dict] * 6),
    *([_attributes] * 3),
    OrderedDict,
    OwnMapping,
    Pretender,
    _computed,
    _struct,
    _dynamic,
]
