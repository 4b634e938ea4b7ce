"""How many items of a streamed list come at once: decides before execution that it is no number below zero.

graphql-core raises about one in the middle of the work, as if the fault were ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from graphql import ArgumentNode, GraphQLError, SelectionSetNode, value_from_ast_untyped

ARGUMENT: Final = "initialCount"
_DIRECTIVE: Final = "stream"


def counts_in(sets: Iterable[SelectionSetNode]) -> tuple[ArgumentNode, ...]:
    """Where @stream is told a count."""
    return tuple(
        argument
        for chosen in sets
        for node in chosen.selections
        for directive in node.directives or ()
        if directive.name.value == _DIRECTIVE
        for argument in directive.arguments or ()
        if argument.name.value == ARGUMENT
    )


def objection_to_counts(counts: Sequence[ArgumentNode], values: Mapping[str, Any]) -> GraphQLError | None:
    """Why a count is refused; null when all may be. What is no number is the engine's to name."""
    for argument in counts:
        count = value_from_ast_untyped(argument.value, dict(values))
        if isinstance(count, int | float) and count < 0:
            return GraphQLError(f"Expected `{ARGUMENT}` of @stream to be 0 or more, got {count}.", argument)
    return None
