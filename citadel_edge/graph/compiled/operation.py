"""Operations compiled, and run.

A compiled operation answers as graphql-core's executor does, to the byte and in the order of errors. Short runs without
awaitables are answered at once; a run that awaits, or that takes longer than a slice of time, answers a coroutine. To
stop a run, cancel what awaits it. Knows nothing of HTTP, of what a document may ask, or of how errors are masked.
"""

from collections.abc import Awaitable, Mapping
from typing import Any, Final

from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.values import VariableValues

from citadel_edge.graph.compiled.conditions import NotCovered, conditions_of
from citadel_edge.graph.compiled.layout import Layout, Result
from citadel_edge.graph.compiled.pacing import Pace
from citadel_edge.graph.compiled.plan import Plan
from citadel_edge.graph.compiled.run import Shared
from citadel_edge.graph.compiled.variables import Variables
from citadel_edge.telemetry.clock import Clock

FIELDS: Final = 2000
"""Fields that an operation may ask for, counted where they are completed: those of a fragment at every spread."""
COMBINATIONS: Final = 16
"""Combinations of `@skip` and `@include` laid out for an operation; further ones are run by graphql-core."""


def compile_operation(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    *,
    pace: Pace | None = None,
    hide_suggestions: bool = False,
) -> "Compiled | None":
    """A validated operation compiled, or None for one that only graphql-core can run.

    Any thread may call it. Resolvers and types are those the schema has now: it must not be changed afterwards. A
    subscription's is run once an event, with the event as root.
    """
    definitions = (one for one in document.definitions if isinstance(one, FragmentDefinitionNode))
    fragments = {one.name.value: FragmentDetails(one, None) for one in definitions}
    pace = pace or Pace(Clock().monotonic_s)
    try:
        return Compiled(schema, operation, fragments, pace, hide_suggestions=hide_suggestions)
    except NotCovered:
        return None


class Compiled:
    """An operation that can be run again and again, by one thread at a time."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDetails],
        pace: Pace,
        *,
        hide_suggestions: bool,
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = fragments
        self._pace = pace
        self._hide_suggestions = hide_suggestions
        self._variables = Variables(schema, operation.variable_definitions or (), hide_suggestions=hide_suggestions)
        self._conditions = conditions_of(operation, fragments)
        self._layouts: dict[tuple[Any, ...], Layout | None] = {}
        if not self._conditions:
            self._layouts[()] = self._lay_out(VariableValues({}, {}))

    def coerced(self, variables: Mapping[str, Any] | None) -> VariableValues | list[GraphQLError]:
        """Variables as sent to what runs take, once for many runs; or the errors that are the whole answer."""
        return self._variables.coerced(variables)

    def write(self) -> None:
        """Write the functions now that the first run would write otherwise, about a third of a millisecond each.

        To be called in a thread, before anybody runs the operation.
        """
        for layout in self._layouts.values():
            if layout is not None:
                layout.write()

    def run(
        self, root: Any, context: Any, variables: Mapping[str, Any] | VariableValues | None = None
    ) -> Result | Awaitable[Result]:
        """The answer, or an awaitable of it. `variables`: as they were sent, or as `coerced` made them."""
        values = variables if isinstance(variables, VariableValues) else self.coerced(variables)
        if isinstance(values, list):
            return Result(None, values)
        layout = self._layout(values)
        if layout is None:
            return self._by_graphql_core(root, context, values)
        return layout.run(root, context, values)

    def _layout(self, values: VariableValues) -> Layout | None:
        """The layout for the conditions as they are; None when it is graphql-core's turn."""
        asked = tuple(values.coerced.get(name) for name in self._conditions)
        if asked in self._layouts:
            return self._layouts[asked]
        if len(self._layouts) == COMBINATIONS or not all(isinstance(one, bool) for one in asked):
            return None
        try:
            layout = self._lay_out(VariableValues({}, dict(zip(self._conditions, asked, strict=True))))
        except NotCovered:
            layout = None
        self._layouts[asked] = layout
        return layout

    def _lay_out(self, conditions: VariableValues) -> Layout:
        plan = Plan(
            schema=self._schema,
            operation=self._operation,
            fragments=self._fragments,
            conditions=conditions,
            most=FIELDS,
            hide_suggestions=self._hide_suggestions,
        )
        serially = self._operation.operation is OperationType.MUTATION
        shared = Shared(
            schema=self._schema,
            operation=self._operation,
            fragments=self._fragments,
            hide_suggestions=self._hide_suggestions,
            selection=plan.selection,
        )
        parts = plan.parts() if serially else [plan.root()]
        return Layout(shared.attributes(), parts, self._pace, plan.write)

    def _by_graphql_core(self, root: Any, context: Any, values: VariableValues) -> Result | Awaitable[Result]:
        executor: Executor[None] = Executor(
            self._schema,
            {name: fragment.definition for name, fragment in self._fragments.items()},
            self._fragments,
            root,
            context,
            self._operation,
            values,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            hide_suggestions=self._hide_suggestions,
        )
        outcome = executor.execute_operation(self._operation.operation is OperationType.MUTATION)
        return _result(outcome) if isinstance(outcome, ExecutionResult) else _awaited_result(outcome)


async def _awaited_result(outcome: Any) -> Result:
    return _result(await outcome)


def _result(outcome: ExecutionResult) -> Result:
    return Result(outcome.data, outcome.errors or [])
