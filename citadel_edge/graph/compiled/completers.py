"""From a field's type to the function that completes its values."""

from collections.abc import Callable
from dataclasses import dataclass
from types import GeneratorType
from typing import Any

from graphql import (
    GraphQLObjectType,
    GraphQLOutputType,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_object_type,
)

from citadel_edge.graph.compiled.abstract import pick_of
from citadel_edge.graph.compiled.completing import Completer, slow_completer
from citadel_edge.graph.compiled.lists import PLAIN_LISTS, ListOf, Pick, anything, leaves, objects
from citadel_edge.graph.compiled.pacing import Steps
from citadel_edge.graph.compiled.paths import Trail
from citadel_edge.graph.compiled.run import Run
from citadel_edge.graph.compiled.selections import Field, Selection
from citadel_edge.graph.compiled.sources import Plain


@dataclass(frozen=True, slots=True)
class Types:
    """What is needed to know of an operation's types. `planned` gives the selection of an object type below a field."""

    planned: Callable[[GraphQLObjectType, Field], Selection]
    plain: Plain

    def completer(self, field: Field, type_: GraphQLOutputType) -> Completer:
        """The completer of `type_`; a generator where `is_sliced` says so."""
        bare: Any = get_nullable_type(type_)
        if is_list_type(bare):
            return self._list(ListOf(field, type_, bare.of_type))
        if is_leaf_type(bare):
            return slow_completer(field, type_)
        if is_abstract_type(bare) or self.is_sliced(field, type_):
            return _one(field, type_, self.pick(field, type_))
        return slow_completer(field, type_)

    def is_sliced(self, field: Field, type_: GraphQLOutputType) -> bool:
        """Whether completing a value of the type may take long."""
        bare: Any = get_nullable_type(type_)
        if is_list_type(bare):
            inner: Any = get_nullable_type(bare.of_type)
            return not is_leaf_type(inner)
        if is_leaf_type(bare):
            return False
        return is_abstract_type(bare) or self.planned(bare, field).sliced

    def asks(self, field: Field) -> bool:
        """Whether resolvers are called within the field's value, or may be."""
        named: Any = get_named_type(field.type)
        return is_abstract_type(named) or (is_object_type(named) and self.planned(named, field).asks)

    def _list(self, level: ListOf) -> Completer:
        bare: Any = get_nullable_type(level.item)
        if is_leaf_type(bare):
            return leaves(level, bare)
        if is_object_type(bare):
            return objects(level, self.planned(bare, level.field))
        return anything(level, self.pick(level.field, level.item))

    def pick(self, field: Field, type_: GraphQLOutputType) -> Pick:
        """What picks the function for a value of a composite type, or for a list within a list."""
        bare: Any = get_nullable_type(type_)
        if is_list_type(bare):
            return _inner_lists(self.completer(field, type_))
        if is_abstract_type(bare):
            return pick_of(field, bare, self.plain)
        front = self.planned(bare, field).front
        return lambda value, _trail, _run: front[type(value)]


def _one(field: Field, type_: GraphQLOutputType, pick: Pick) -> Completer:
    """A value of a composite type that stands in no list."""

    def complete(value: Any, trail: Trail, run: Run) -> Steps:
        function = pick(value, trail, run)
        if function is None:
            return run.slowly(field, type_, value, trail)
        completed = function(value, trail, None, run)
        return (yield from completed) if type(completed) is GeneratorType else completed

    return complete


def _inner_lists(complete: Completer) -> Pick:
    """Lists within a list; what is no list itself the executor judges."""

    def inner(items: Any, trail: Trail, index: int, run: Run) -> Any:
        return complete(items, (trail, index, None), run)

    return lambda value, _trail, _run: inner if type(value) in PLAIN_LISTS else None
