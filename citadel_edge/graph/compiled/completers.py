"""From a field's type to the function that completes its values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLObjectType,
    GraphQLOutputType,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
)

from citadel_edge.graph.compiled.abstract import pick_of
from citadel_edge.graph.compiled.completing import Completer, slow_completer
from citadel_edge.graph.compiled.lists import ListOf, Pick, anything, leaves, objects
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
            return _one(field, type_, self._pick(field, type_))
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

    def _list(self, level: ListOf) -> Completer:
        bare: Any = get_nullable_type(level.item)
        if is_leaf_type(bare):
            return leaves(level, bare)
        if isinstance(bare, GraphQLObjectType) and not self.is_sliced(level.field, bare):
            return objects(level, self.planned(bare, level.field))
        return anything(level, self._pick(level.field, level.item))

    def _pick(self, field: Field, type_: GraphQLOutputType) -> Pick:
        bare: Any = get_nullable_type(type_)
        if is_list_type(bare):
            return _inner_lists(self.completer(field, type_), sliced=self.is_sliced(field, type_))
        if is_abstract_type(bare):
            return pick_of(field, bare, self.plain)
        front = self.planned(bare, field).front
        return lambda value, _trail, _run: front[type(value)]


def _one(field: Field, type_: GraphQLOutputType, pick: Pick) -> Completer:
    """A value of a composite type that stands in no list."""

    def complete(value: Any, trail: Trail, run: Run) -> Steps:
        steps = pick(value, trail, run)
        if steps is None:
            return run.slowly(field, type_, value, trail)
        return (yield from steps(value, trail, None, run))

    return complete


def _inner_lists(complete: Completer, *, sliced: bool) -> Pick:
    """Lists within a list; what is no list itself the executor judges."""

    def in_slices(items: Any, trail: Trail, index: int, run: Run) -> Steps:
        return (yield from complete(items, (trail, index, None), run))

    def at_once(items: Any, trail: Trail, index: int, run: Run) -> Steps:
        yield from ()
        return complete(items, (trail, index, None), run)

    steps = in_slices if sliced else at_once
    return lambda value, _trail, _run: steps if type(value) is list or type(value) is tuple else None
