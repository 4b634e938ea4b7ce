"""What a document asks of one object type at one place: selections collected as execution would. Pure.

The work is counted, so that fragments within fragments cannot make it long.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    is_abstract_type,
)

MAX_WORK: Final = 20_000
Condition = frozenset[tuple[str, bool]]
"""Variables that must be true or false for a selection to be taken, all of them."""
ALWAYS: Final[Condition] = frozenset()
Sets = tuple[SelectionSetNode, ...]


class CostObjection(Exception):
    """The operation cannot be priced; the message says what to change."""


@dataclass(slots=True)
class Taken:
    """A field of one response name: where it stands, under which conditions, and what is asked below it."""

    node: FieldNode
    when: list[Condition] = field(default_factory=list)
    below: dict[int, SelectionSetNode] = field(default_factory=dict)


class Collector:
    """Collects the fields of one valid document."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
        self._work = 0

    def collect(self, sets: Sets, kind: GraphQLObjectType) -> Mapping[str, Taken]:
        """The fields asked of an object type, by response name, as execution merges them. Raises CostObjection."""
        found: dict[str, Taken] = {}
        for node, condition in self._fields(sets, kind):
            taken = found.setdefault((node.alias or node.name).value, Taken(node))
            taken.when.append(condition)
            if node.selection_set is not None:
                taken.below[id(node.selection_set)] = node.selection_set
        for taken in found.values():
            taken.when = [] if ALWAYS in taken.when else taken.when
        return found

    def _fields(self, sets: Sets, kind: GraphQLObjectType) -> Iterator[tuple[FieldNode, Condition]]:
        waiting = [(each, ALWAYS) for each in reversed(sets)]
        seen: set[tuple[str, Condition]] = set()
        while waiting:
            chosen, above = waiting.pop()
            self.spend(len(chosen.selections))
            for node in chosen.selections:
                condition = _condition(node, above)
                if condition is None:
                    continue
                if isinstance(node, FieldNode):
                    yield node, condition
                elif (inner := self._inside(node, kind)) is not None and not self._seen(node, condition, seen):
                    waiting.append((inner, condition))

    def spend(self, work: int) -> None:
        """So much work is done. Raises CostObjection when it is too much for one document."""
        self._work += work
        if self._work > MAX_WORK:
            raise CostObjection("the operation is too tangled to price; use fewer fragments")

    def _inside(self, node: SelectionNode, kind: GraphQLObjectType) -> SelectionSetNode | None:
        """A fragment's selections, if it applies to the type."""
        fragment = self._fragments.get(node.name.value) if isinstance(node, FragmentSpreadNode) else node
        if not isinstance(fragment, FragmentDefinitionNode | InlineFragmentNode):
            return None
        if fragment.type_condition is not None:
            wanted = self._schema.get_type(fragment.type_condition.name.value)
            if wanted is not kind and not (is_abstract_type(wanted) and self._schema.is_sub_type(wanted, kind)):
                return None
        return fragment.selection_set

    def _seen(self, node: SelectionNode, condition: Condition, seen: set[tuple[str, Condition]]) -> bool:
        if not isinstance(node, FragmentSpreadNode):
            return False
        name = node.name.value
        if (name, ALWAYS) in seen or (name, condition) in seen:
            return True
        seen.add((name, condition))
        return False


def _condition(node: SelectionNode, above: Condition) -> Condition | None:
    """Under which variables a selection is taken; null when it never is."""
    wanted: Iterable[tuple[str, bool]] = ()
    for directive in node.directives or ():
        if directive.name.value not in {"skip", "include"}:
            continue
        include = directive.name.value == "include"
        value = next((a.value for a in directive.arguments or () if a.name.value == "if"), None)
        if isinstance(value, VariableNode):
            wanted = (*wanted, (value.name.value, include))
        elif isinstance(value, BooleanValueNode) and value.value is not include:
            return None
    return above.union(wanted)
