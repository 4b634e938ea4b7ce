"""Decides whether a parsed document may be validated: validation itself is what a hostile document attacks.

Its cost grows with the square of the fields that share a response name, so those are counted, once, in O(n), with
depth, aliases, directives, fragments, operations and variables. Values of variables are counted too: coercing a long
list costs as much as the list is long. Nothing here recurses: a document is as deep as its author likes. Pure.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

MAX_COERCION_ERRORS: Final = 20
"""Values of variables that are wrong, named in one answer."""
META: Final = frozenset({"__schema", "__type"})
"""The fields by which a document asks for the schema itself."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of each a document may have.

    `depth` counts fields on the way to the deepest leaf, through fragments, and spares what is below `__schema` and
    `__type`; `same_name` counts the fields of the whole document that answer under one name; `values` the scalars,
    lists and objects among the values of variables.
    """

    characters: int = 15_000
    tokens: int = 1_000
    depth: int = 6
    same_name: int = 30
    aliases: int = 15
    directives: int = 50
    fragments: int = 50
    operations: int = 10
    variables: int = 50
    values: int = 10_000


@dataclass(slots=True)
class _Tally:
    names: Counter[str] = field(default_factory=Counter)
    aliases: int = 0
    directives: int = 0
    fragments: int = 0
    operations: int = 0
    variables: int = 0


@dataclass(frozen=True, slots=True)
class _Reach:
    """How deep a definition goes by itself, and which fragments it spreads at which depth."""

    depth: int
    spreads: Sequence[tuple[str, int]]


def objection_to_text(text: str, bounds: Bounds) -> str | None:
    """Why a text is not even parsed; null when it may be."""
    if len(text) > bounds.characters:
        return f"the document has {len(text)} characters; at most {bounds.characters} are taken"
    return None


def objection(document: DocumentNode, bounds: Bounds) -> str | None:
    """Why a document is refused, with its bound; null when it may be validated."""
    tally = _Tally()
    operations: list[_Reach] = []
    fragments: dict[str, _Reach] = {}
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            _count_operation(definition, tally)
            operations.append(_count(definition.selection_set, tally))
        elif isinstance(definition, FragmentDefinitionNode):
            tally.fragments += 1
            tally.directives += len(definition.directives or ())
            fragments[definition.name.value] = _count(definition.selection_set, tally)
    found = (
        (max(tally.names.values(), default=0), bounds.same_name, "fields with the same response name"),
        (tally.aliases, bounds.aliases, "aliases"),
        (tally.directives, bounds.directives, "directives"),
        (tally.fragments, bounds.fragments, "fragments"),
        (tally.operations, bounds.operations, "operations"),
        (tally.variables, bounds.variables, "variables"),
        (_depth(operations, fragments), bounds.depth, "levels of fields"),
    )
    return next(
        (
            f"the document has {count} {what}; at most {bound} are taken"
            for count, bound, what in found
            if count > bound
        ),
        None,
    )


def objection_to_variables(variables: Mapping[str, Any], bounds: Bounds) -> str | None:
    """Why the values of variables are refused; null when they may be coerced."""
    waiting: list[Any] = [variables]
    seen = 0
    while waiting:
        value = waiting.pop()
        inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        seen += len(inside)
        if seen > bounds.values:
            return f"the variables hold more than {bounds.values} values"
        waiting += (each for each in inside if isinstance(each, Mapping | list))
    return None


def _count_operation(node: OperationDefinitionNode, tally: _Tally) -> None:
    variables = node.variable_definitions or ()
    tally.operations += 1
    tally.variables += len(variables)
    tally.directives += len(node.directives or ()) + sum(len(each.directives or ()) for each in variables)


def _count(root: SelectionSetNode, tally: _Tally) -> _Reach:
    waiting = [(root, 0, False)]
    deepest, spreads = 0, list[tuple[str, int]]()
    while waiting:
        chosen, above, spared = waiting.pop()
        for node in chosen.selections:
            tally.directives += len(node.directives or ())
            depth = above
            if isinstance(node, FieldNode):
                depth += not spared
                tally.names[(node.alias or node.name).value] += 1
                tally.aliases += node.alias is not None
            else:
                tally.fragments += 1
                if isinstance(node, FragmentSpreadNode) and not spared:
                    spreads.append((node.name.value, depth))
            deepest = max(deepest, depth)
            if (deeper := getattr(node, "selection_set", None)) is not None:
                waiting.append((deeper, depth, spared or _is_meta(node)))
    return _Reach(deepest, spreads)


def _is_meta(node: Any) -> bool:
    return isinstance(node, FieldNode) and node.name.value in META


def _depth(operations: Sequence[_Reach], fragments: Mapping[str, _Reach]) -> int:
    """The deepest operation's depth. A spread that closes a circle adds nothing: validation names it."""
    depths: dict[str, int] = {}
    for name in fragments:
        _settle(name, fragments, depths)
    return max((_whole(reach, depths) for reach in operations), default=0)


def _settle(first: str, fragments: Mapping[str, _Reach], depths: dict[str, int]) -> None:
    """Fill in the depths of a fragment and of all that it spreads, the deepest first."""
    if first in depths:
        return
    path: dict[str, Iterator[tuple[str, int]]] = {first: iter(fragments[first].spreads)}
    while path:
        name, spreads = next(reversed(path.items()))
        following = next(
            (each for each, _ in spreads if each in fragments and each not in depths and each not in path), None
        )
        if following is None:
            del path[name]
            depths[name] = _whole(fragments[name], depths)
        else:
            path[following] = iter(fragments[following].spreads)


def _whole(reach: _Reach, depths: Mapping[str, int]) -> int:
    return max([reach.depth, *(depth + depths.get(name, 0) for name, depth in reach.spreads)])
