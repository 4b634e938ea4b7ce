"""The arguments of a field: once for all runs, once a run or once a call, whichever nobody can tell from the last."""

from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    VariableNode,
    get_argument_values,
    get_nullable_type,
    specified_scalar_types,
)

from citadel_edge.graph.compiled.run import Run
from citadel_edge.graph.compiled.selections import Field

Ask = Callable[[Run], Mapping[str, Any]]


def asked_arguments(field: Field, *, hide_suggestions: bool) -> Ask:
    """A function for the coerced arguments of a field. What it raises is the field's error."""
    definition, node = field.definition, field.nodes[0]

    def ask(run: Run) -> Mapping[str, Any]:
        return get_argument_values(definition, node, run.variable_values, None, hide_suggestions)

    def ask_once(run: Run) -> Mapping[str, Any]:
        known = run.arguments.get(field)
        if known is None:
            known = run.arguments[field] = ask(run)
        return known

    return ask_once if _coerced_alike(field) else ask


def constant_arguments(field: Field) -> Mapping[str, Any] | None:
    """The coerced arguments on which no variable has a say; None when there are others, or something is wrong."""
    nodes = field.nodes[0].arguments
    if not _coerced_alike(field) or any(isinstance(argument.value, VariableNode) for argument in nodes or ()):
        return None
    try:
        return get_argument_values(field.definition, field.nodes[0])
    except GraphQLError:
        return None


def _coerced_alike(field: Field) -> bool:
    """Whether no resolver can tell a value from one coerced before: no lists, no objects, no scalars of our own."""
    scalars = specified_scalar_types.values()
    types = (get_nullable_type(argument.type) for argument in field.definition.args.values())
    return all(type_ in scalars or type(type_) is GraphQLEnumType for type_ in types)
