"""Decides whether a parsed document may be validated: validation itself is what a hostile document attacks.

Its cost grows with the square of the fields that share a response name, so those are counted, once, in O(n), with
depth, aliases, fragments and directives. Pure.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from graphql import DocumentNode, FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode

DEPTH = 15
SAME_NAME = 30
ALIASES = 15
FRAGMENTS = 50
DIRECTIVES = 50


@dataclass(slots=True)
class _Tally:
    names: Counter[str] = field(default_factory=Counter)
    aliases: int = 0
    fragments: int = 0
    directives: int = 0
    depth: int = 0


def objection(document: DocumentNode) -> str | None:
    """Why the document is refused, with its bound; null when it may be validated."""
    tally = _Tally()
    for definition in document.definitions:
        chosen = getattr(definition, "selection_set", None)
        if isinstance(chosen, SelectionSetNode):
            _count(chosen, tally)
    most = max(tally.names.values(), default=0)
    found = (
        (tally.depth, DEPTH, "levels deep"),
        (most, SAME_NAME, "fields with the same response name"),
        (tally.aliases, ALIASES, "aliases"),
        (tally.fragments, FRAGMENTS, "fragments"),
        (tally.directives, DIRECTIVES, "directives"),
    )
    return next((f"{count} {what}; at most {bound} are taken" for count, bound, what in found if count > bound), None)


def _count(root: SelectionSetNode, tally: _Tally) -> None:
    """Walk without recursion: a document is as deep as its author likes."""
    waiting = [(root, 1)]
    while waiting:
        chosen, depth = waiting.pop()
        tally.depth = max(tally.depth, depth)
        waiting += ((deeper, depth + 1) for deeper in _count_level(chosen, tally))


def _count_level(chosen: SelectionSetNode, tally: _Tally) -> Iterator[SelectionSetNode]:
    for node in chosen.selections:
        tally.directives += len(node.directives or ())
        if isinstance(node, FieldNode):
            tally.names[(node.alias or node.name).value] += 1
            tally.aliases += node.alias is not None
        elif isinstance(node, InlineFragmentNode | FragmentSpreadNode):
            tally.fragments += 1
        deeper = getattr(node, "selection_set", None)
        if deeper is not None:
            yield deeper
