"""What an operation makes depend on variables, and whether it uses anything that compiled functions do not cover.

`@skip` and `@include` decide which fields there are; for every combination of their variables that arrives the
operation is planned anew, so that a compiled function never asks.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    VariableNode,
)
from graphql.execution.collect_fields import FragmentDetails

NAME: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]*", re.ASCII)
DEPTH: Final = 60
"""Selection sets within each other."""
FOREIGN: Final = frozenset({"defer", "stream", "experimental_disableErrorPropagation"})
"""Directives that change how an operation is run."""


class NotCovered(Exception):
    """The operation needs the executor itself."""


def conditions_of(operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDetails]) -> tuple[str, ...]:
    """The variables that `@skip` and `@include` ask. Raises NotCovered."""
    _refuse(operation.directives or ())
    names: dict[str, None] = {}
    for selection in _reachable(operation, fragments):
        _refuse(selection.directives or ())
        for directive in selection.directives or ():
            if directive.name.value in ("skip", "include"):
                names.update(dict.fromkeys(_asked(directive)))
    return tuple(names)


def _reachable(operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDetails]) -> Iterator[SelectionNode]:
    """Every selection of the operation and of the fragments it spreads, each fragment's once."""
    seen: set[str] = set()
    left: list[tuple[Any, int]] = [(operation.selection_set, 1)]
    while left:
        selections, depth = left.pop()
        if depth > DEPTH:
            raise NotCovered("nested too deeply")
        for selection in selections.selections:
            yield selection
            match selection:
                case FieldNode():
                    _check_names(selection)
                    below = selection.selection_set
                case InlineFragmentNode():
                    below = selection.selection_set
                case FragmentSpreadNode():
                    below = _of_fragment(selection.name.value, fragments, seen)
            if below is not None:
                left.append((below, depth + 1))


def _of_fragment(name: str, fragments: Mapping[str, FragmentDetails], seen: set[str]) -> Any:
    if name not in fragments:
        raise NotCovered("an unknown fragment")
    if fragments[name].variable_signatures or fragments[name].definition.variable_definitions:
        raise NotCovered("a fragment with variables")
    if name in seen:
        return None
    seen.add(name)
    return fragments[name].definition.selection_set


def _check_names(field: FieldNode) -> None:
    """Names that come from the lexer are names; a document may have been built without one."""
    for name in (field.name, field.alias):
        if name is not None and not NAME.fullmatch(name.value):
            raise NotCovered("a field whose name is none")


def _refuse(directives: Iterable[DirectiveNode]) -> None:
    for directive in directives:
        if directive.name.value in FOREIGN:
            raise NotCovered(f"@{directive.name.value}")


def _asked(directive: DirectiveNode) -> Iterator[str]:
    match [argument.value for argument in directive.arguments or () if argument.name.value == "if"]:
        case [VariableNode(name=name)]:
            yield name.value
        case [BooleanValueNode()]:
            return
        case _:
            raise NotCovered("a condition that is none")
