"""Operations compiled, and run.

A compiled operation answers as graphql-core's executor does, to the byte and in the order of errors. Short runs without
awaitables are answered at once; a run that awaits, or that takes longer than a slice of time, answers a coroutine. To
stop a run, cancel what awaits it. What is beyond its bounds it leaves to others. Knows nothing of HTTP, of what a
document may ask, or of how errors are masked.
"""

from collections.abc import Awaitable, Mapping
from typing import Any, Final

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
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

FIELDS: Final = 500
"""Fields that an operation may ask for, counted where they are completed: those of a fragment at every spread, those of
an abstract type for each that it may be."""
COMBINATIONS: Final = 16
"""Combinations of `@skip` and `@include` laid out for an operation."""
BYTES: Final = 4_000_000
"""What an operation's functions may hold, all combinations together."""


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
        self._defaults = _defaults(operation)
        self._layouts: dict[tuple[Any, ...], Layout | None] = {}
        self._held_bytes = 0
        if not self._conditions:
            self._layouts[()] = self._lay_out(())

    def coerced(self, variables: Mapping[str, Any] | None) -> VariableValues | list[GraphQLError]:
        """Variables as sent to what runs take, once for many runs; or the errors that are the whole answer."""
        return self._variables.coerced(variables)

    def ready(self, variables: Mapping[str, Any]) -> bool:
        """Whether a run with these, as they were sent, finds its functions written, or is not for `write` to help."""
        asked = self._asked({**self._defaults, **variables})
        if self._is_beyond(asked):
            return True
        layout = self._layouts.get(asked)
        return asked in self._layouts if layout is None else layout.plan.written

    def write(self, variables: Mapping[str, Any]) -> int:
        """Write the functions of runs with these variables, as they were sent. Answers about the bytes they hold.

        About a third of a millisecond each, two for every selection: to be called in a thread, one call at a time.
        Without it a run writes what it needs. Sources of kinds other than dicts and objects have theirs written then.
        """
        layout = self._layout(self._asked({**self._defaults, **variables}))
        if layout is None or layout.plan.written:
            return 0
        layout.plan.write()
        return layout.plan.size

    def run(
        self, root: Any, context: Any, variables: Mapping[str, Any] | VariableValues | None = None
    ) -> Result | Awaitable[Result] | None:
        """The answer, an awaitable of it, or None when these variables ask for more than is compiled: nothing ran then.

        `variables`: as they were sent, or as `coerced` made them.
        """
        values = variables if isinstance(variables, VariableValues) else self.coerced(variables)
        if isinstance(values, list):
            return Result(None, values)
        layout = self._layout(self._asked(values.coerced))
        return None if layout is None else layout.run(root, context, values)

    def _asked(self, variables: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(variables.get(name) for name in self._conditions)

    def _is_beyond(self, asked: tuple[Any, ...]) -> bool:
        """Whether there is no room for another combination, or this is none: a null, or what is to be refused."""
        if not all(isinstance(one, bool) for one in asked):
            return True
        return len(self._layouts) == COMBINATIONS and asked not in self._layouts

    def _layout(self, asked: tuple[Any, ...]) -> Layout | None:
        """The layout for the conditions as they are; None when they are beyond us."""
        if self._is_beyond(asked):
            return None
        if asked not in self._layouts:
            try:
                self._layouts[asked] = self._lay_out(asked)
            except NotCovered:
                self._layouts[asked] = None
        return self._layouts[asked]

    def _lay_out(self, asked: tuple[Any, ...]) -> Layout:
        conditions = VariableValues({}, dict(zip(self._conditions, asked, strict=True)))
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
        if self._held_bytes + plan.size > BYTES:
            raise NotCovered(f"more than {BYTES} bytes of functions")
        self._held_bytes += plan.size
        return Layout(shared.attributes(), parts, self._pace, plan)


def _defaults(operation: OperationDefinitionNode) -> dict[str, bool]:
    """What variables are that are not sent, of those that may be conditions."""
    given = ((one.variable.name.value, one.default_value) for one in operation.variable_definitions or ())
    return {name: node.value for name, node in given if isinstance(node, BooleanValueNode)}
