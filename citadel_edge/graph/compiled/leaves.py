"""Scalars and enums: which values need no more than a look at their class.

Each leaf type becomes a few lines of Python that accept the values they are sure about as the executor would accept
them, and hand every other value on to the executor's own coercion.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLString,
    Undefined,
)
from graphql.type.scalars import GRAPHQL_MAX_INT, GRAPHQL_MIN_INT

from citadel_edge.graph.compiled.sources import VALUES

QuickList = Callable[[Any], list[Any] | None]
"""Completes a list of leaves, or answers None when it is not sure."""


class Leaf(Enum):
    """How a value of the type is looked at."""

    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    BOOLEAN = "boolean"
    ENUM = "enum"
    CUSTOM = "custom"


def leaf_of(named: GraphQLLeafType) -> Leaf:
    """The kind of a leaf type. What is not graphql-core's own is custom, whatever its name says."""
    if type(named) is GraphQLEnumType:
        return Leaf.ENUM
    known = ((GraphQLString, "TEXT"), (GraphQLID, "TEXT"), (GraphQLInt, "INT"), (GraphQLFloat, "FLOAT"))
    for scalar, kind in (*known, (GraphQLBoolean, "BOOLEAN")):
        if named is scalar:
            return Leaf[kind]
    return Leaf.CUSTOM


def enum_names(named: GraphQLEnumType) -> dict[Any, str]:
    """The name of each value that can be looked up by itself."""
    names: dict[Any, str] = {}
    for name, value in named.values.items():
        inner = name if value.value is None or value.value is Undefined else value.value
        try:
            names[inner] = named.coerce_output_value(inner)
        except TypeError:  # not hashable: the type looks through its values one by one
            continue
    return names


def known_classes(names: Mapping[Any, str]) -> frozenset[type]:
    """The classes of an enum's values whose own instances may be looked up without further questions."""
    return frozenset(cls for cls in map(type, names) if cls in VALUES or issubclass(cls, Enum))


def quick_list(named: GraphQLLeafType) -> QuickList | None:
    """A function that completes a list of these leaves at once when each is sure and none is null."""
    match leaf_of(named):
        case Leaf.TEXT:
            return _texts
        case Leaf.INT:
            return _ints
        case Leaf.FLOAT:
            return _floats
        case Leaf.BOOLEAN:
            return _booleans
        case Leaf.ENUM if isinstance(named, GraphQLEnumType):
            return _enums(enum_names(named))
    return None


def _texts(items: Any) -> list[Any] | None:
    for item in items:
        if type(item) is not str:
            return None
    return list(items)


def _ints(items: Any) -> list[Any] | None:
    for item in items:
        if type(item) is not int or not GRAPHQL_MIN_INT <= item <= GRAPHQL_MAX_INT:
            return None
    return list(items)


def _floats(items: Any) -> list[Any] | None:
    for item in items:
        if type(item) is not float or item - item != 0.0:
            return None
    return list(items)


def _booleans(items: Any) -> list[Any] | None:
    for item in items:
        if item is not True and item is not False:
            return None
    return list(items)


def _enums(names: dict[Any, str]) -> QuickList:
    classes = known_classes(names)

    def enums(items: Any) -> list[Any] | None:
        found = [names.get(item) if type(item) in classes else None for item in items]
        return None if None in found else found

    return enums
