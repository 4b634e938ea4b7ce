"""Interfaces and unions: which object type a value is of."""

from collections.abc import Callable
from typing import Any

from graphql import GraphQLAbstractType, GraphQLObjectType, default_type_resolver
from graphql.pyutils import is_awaitable

from citadel_edge.graph.compiled.lists import Pick
from citadel_edge.graph.compiled.paths import Trail, as_path, within
from citadel_edge.graph.compiled.run import Run
from citadel_edge.graph.compiled.selections import Complete, Field
from citadel_edge.graph.compiled.sources import Plain


def pick_of(field: Field, named: GraphQLAbstractType, plain: Plain) -> Pick:
    """The function that picks, by what a value says it is, the function that completes it."""
    known: dict[str, Callable[[type], Complete | None]] = {}
    resolve_type = named.resolve_type

    def pick(value: Any, trail: Trail, run: Run) -> Complete | None:
        if not plain[type(value)]:
            return None
        name: Any = value.get("__typename") if resolve_type is None and type(value) is dict else None
        if type(name) is not str:
            name = (resolve_type or default_type_resolver)(value, run.info(field, trail), named)
            if is_awaitable(name):
                run.slices.made.append(name)
                return _later(field, named, name)
        found = known.get(name) if isinstance(name, str) else None
        if found is None:
            info = run.info(field, trail)
            runtime = run.ensure_valid_runtime_type(name, named, field.details, info, value)
            found = known[name] = _functions(field, runtime, run)
        return found(type(value))

    return pick


def _functions(field: Field, runtime: GraphQLObjectType, run: Run) -> Callable[[type], Complete | None]:
    """The functions for values of a runtime type, by the class of the value."""
    selection = run.selection(runtime, field.details)
    if selection is None or runtime.is_type_of is not None:
        by_executor = _by_executor(field, runtime)
        return lambda _cls: by_executor
    return selection.front.__getitem__


def _by_executor(field: Field, runtime: GraphQLObjectType) -> Complete:
    def begin(value: Any, trail: Trail, index: int | None, run: Run) -> Any:
        path = as_path(within(trail, index) or trail)
        return run.complete_object_value(runtime, field.details, run.info(field, trail), path, value, None)

    return begin


def _later(field: Field, named: GraphQLAbstractType, name: Any) -> Complete:
    """For a type that is known only when it was awaited."""

    async def complete(value: Any, trail: Trail, run: Run) -> Any:
        info = run.info(field, trail)
        runtime = run.ensure_valid_runtime_type(await name, named, field.details, info, value)
        completed = run.complete_object_value(runtime, field.details, info, as_path(trail), value, None)
        return await completed if is_awaitable(completed) else completed

    def begin(value: Any, trail: Trail, index: int | None, run: Run) -> Any:
        return run.kept(complete(value, within(trail, index) or trail, run))

    return begin
