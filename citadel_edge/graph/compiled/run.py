"""One run of a compiled operation: its values, its errors, its slices of time.

A `Run` is one of graphql-core's executors, so that whatever the compiled functions are not sure about is done by the
executor's own code, on the same errors and with the same `info`; where that code comes to a selection set, it comes
back to the compiled function.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from graphql import (
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails
from graphql.execution.executor import CollectedErrors, Executor
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, RefMap, gather_with_cancel, is_async_iterable, is_awaitable
from graphql.type.definition import GraphQLResolveInfoHelpers

from citadel_edge.graph.compiled.pacing import PacedIterator, Slices, exhausted
from citadel_edge.graph.compiled.paths import Trail, as_path, field_path
from citadel_edge.graph.compiled.selections import Field, Selection

Coro = TypeVar("Coro", bound=Coroutine[Any, Any, Any])


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all runs of an operation with the same conditions share."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDetails]
    hide_suggestions: bool
    selection: Callable[[GraphQLObjectType, FieldDetailsList], Selection | None]
    subfields: dict[Any, Any] = field(default_factory=dict)

    def definitions(self) -> dict[str, FragmentDefinitionNode]:
        """The fragments as resolvers may read them."""
        return {name: fragment.definition for name, fragment in self.fragments.items()}

    def attributes(self) -> dict[str, Any]:
        """The executor's attributes that no run changes."""
        return {
            "schema": self.schema,
            "operation": self.operation,
            "fragments": self.fragments,
            "fragment_definitions": self.definitions(),
            "field_resolver": default_field_resolver,
            "type_resolver": default_type_resolver,
            "subscribe_field_resolver": default_field_resolver,
            "enable_early_execution": False,
            "hide_suggestions": self.hide_suggestions,
            "abort_signal": None,
            "hooks": None,
            "middleware_manager": None,
            "error_propagation": True,
            "is_awaitable": is_awaitable,
            "is_async_iterable": is_async_iterable,
            "async_work_finished_hook_task": None,
            "selection": self.selection,
            "_relevant_sub_fields": self.subfields,
            "_stream_usages": RefMap(),
        }


class Run(Executor[None]):
    """One run."""

    selection: Callable[[GraphQLObjectType, FieldDetailsList], Selection | None]

    def __init__(
        self, attributes: Mapping[str, Any], slices: Slices, *, root: Any, context: Any, variables: VariableValues
    ) -> None:
        self.__dict__.update(attributes)
        self.slices = slices
        self.root_value = root
        self.context_value = context
        self.variable_values = variables
        self.collected_errors = CollectedErrors()
        self.background_futures = set()
        self.pending_incremental_futures = set()
        self.async_helpers = GraphQLResolveInfoHelpers(self.gather_async_work, self.track_async_work)
        self.arguments: dict[Field, Mapping[str, Any]] = {}
        self.tail: tuple[Any, ...] = (
            *(self.schema, self.fragment_definitions, root, self.operation, variables, context),
            *(is_awaitable, None, self.async_helpers),
        )

    def release(self) -> None:
        """Undo the circle that `info` closes, once nothing can ask for it any more, and spare the collector."""
        if not self.background_futures:
            self.tail = ()
            del self.async_helpers

    def info(self, field: Field, trail: Trail) -> GraphQLResolveInfo[Any]:
        """What a resolver is told; `trail` is the place of the field or of anything in its value."""
        return tuple.__new__(GraphQLResolveInfo, (*field.told, field_path(trail), *self.tail))

    def slowly(self, field: Field, type_: GraphQLOutputType, value: Any, trail: Trail) -> Any:
        """Complete any value of `type_` within `field` the executor's way."""
        return self.complete_value(type_, field.details, self.info(field, trail), as_path(trail), value, None)

    def slow_item(self, field: Field, type_: GraphQLOutputType, item: Any, trail: Trail, results: list[Any]) -> bool:
        """Complete a list's item the executor's way and append it; says whether it must be awaited."""
        info, path, details = self.info(field, trail), as_path(trail), field.details
        if not is_awaitable(item):
            return self.complete_list_item_value(item, results, type_, details, info, path, None)
        self.slices.made.append(item)
        results.append(self.kept(self.complete_awaitable_list_item_value(item, type_, details, info, path, None)))
        return True

    def failed(self, error: Exception, field: Field, type_: GraphQLOutputType, trail: Trail) -> None:
        """Note an error as null at `trail`, or send it upward, as `type_` says."""
        self.handle_field_error(error, type_, field.details, as_path(trail))

    def guarded(self, completed: Awaitable[Any], field: Field, type_: GraphQLOutputType, trail: Trail) -> Any:
        """A coroutine of `completed` whose error is noted or sent upward."""

        async def await_completed() -> Any:
            try:
                return await completed
            except Exception as error:
                self.handle_field_error(error, type_, field.details, as_path(trail))
                return None

        return self.kept(await_completed())

    def gathered(self, results: Any, waiting: Sequence[Any]) -> Coroutine[Any, Any, Any]:
        """A coroutine of `results`, a dict or list whose values at `waiting` are awaited together."""
        return self.kept(_gathered(results, waiting))

    def kept(self, coroutine: Coro) -> Coro:
        """Remember a coroutine that nobody has started yet."""
        self.slices.made.append(coroutine)
        return coroutine

    def collect_and_execute_subfields(
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        path: Path,
        result: Any,
        position_context: None,
    ) -> Any:
        """The executor's way back to the compiled function of a selection set, where there is one."""
        selection = self.selection(return_type, field_details_list)
        if selection is None:
            return super().collect_and_execute_subfields(
                return_type, field_details_list, path, result, position_context
            )
        completed = selection.function_for(type(result))(result, path, None, self)
        return exhausted(completed) if selection.sliced else completed

    async def complete_async_iterator_value(  # noqa: PLR0917 - graphql-core's signature
        self,
        item_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        async_iterator: AsyncIterator[Any],
        position_context: None,
    ) -> list[Any]:
        """The executor's, with pauses."""
        self.slices.renew()
        paced = PacedIterator(self.slices, async_iterator)
        return await super().complete_async_iterator_value(
            item_type, field_details_list, info, path, paced, position_context
        )


async def _gathered(results: Any, waiting: Sequence[Any]) -> Any:
    if len(waiting) == 1:
        only = waiting[0]
        results[only] = await results[only]
        return results
    finished = await gather_with_cancel(*(results[one] for one in waiting))
    for one, value in zip(waiting, finished, strict=True):
        results[one] = value
    return results
