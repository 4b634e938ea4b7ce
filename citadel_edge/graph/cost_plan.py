"""How a document's operations become prices: selections collected as execution would, priced once each. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
    is_composite_type,
)

from citadel_edge.graph.cost import (
    Condition,
    CostObjection,
    Price,
    Sized,
    Term,
    Weighed,
    add,
    dearest,
    defaults_of,
    fold,
)
from citadel_edge.graph.cost_annotations import Annotations, FieldPrice

MAX_WORK: Final = 20_000
ALWAYS: Final[Condition] = frozenset()
Sets = tuple[SelectionSetNode, ...]


@dataclass(slots=True)
class _Taken:
    """A field of one response name: where it stands, under which conditions, and what is asked below it."""

    node: FieldNode
    when: list[Condition] = field(default_factory=list)
    below: dict[int, SelectionSetNode] = field(default_factory=dict)


class Planner:
    """Prices the operations of one valid document."""

    def __init__(self, schema: GraphQLSchema, annotations: Annotations, document: DocumentNode) -> None:
        self._schema = schema
        self._annotations = annotations
        self._fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
        self._priced: dict[tuple[Any, ...], Term] = {}
        self._work = 0

    def price(self, node: OperationDefinitionNode) -> Price:
        """The operation's price."""
        root = self._schema.get_root_type(node.operation)
        try:
            term = Term() if root is None else self._object((node.selection_set,), root, None)
        except CostObjection as objection:
            return Price(Term(), {}, str(objection))
        return Price(term, defaults_of(node))

    def _selection(self, sets: Sets, kind: GraphQLNamedType, sized: Sized | None) -> Term:
        """What the selections cost, asked of one object of this type. `sized` sizes some of its fields."""
        key = (*map(id, sets), kind.name, sized)
        found = self._priced.get(key)
        if found is None:
            types = self._annotations.types
            found = self._priced[key] = dearest(
                [add([Term(types[each.name]), self._object(sets, each, sized)]) for each in self._possible(kind)]
            )
        return found

    def _possible(self, kind: GraphQLNamedType) -> Sequence[GraphQLObjectType]:
        if is_abstract_type(kind):
            return self._schema.get_possible_types(kind)
        return (kind,) if isinstance(kind, GraphQLObjectType) else ()

    def _object(self, sets: Sets, kind: GraphQLObjectType, sized: Sized | None) -> Term:
        return add([self._field(taken, kind, sized) for taken in self._collect(sets, kind).values()])

    def _field(self, taken: _Taken, parent: GraphQLObjectType, sized: Sized | None) -> Term:
        name = taken.node.name.value
        weights = self._annotations.weights
        if name.startswith("__"):
            known = 0.0 if name == "__typename" else weights.introspection
            return fold(taken.when, Term(known), 1, Term())
        price = self._annotations.fields[parent.name, name]
        own_size = self._own_size(price, taken.node)
        by_parent = sized is not None and name in sized.by.sized
        inner = own_size if own_size is not None and own_size.by.sized else None
        below = tuple(taken.below.values())
        return fold(
            taken.when,
            add(
                [Term(price.own), *self._arguments(price, taken.node), Term() if own_size is None else own_size.work()]
            ),
            sized if sized is not None and by_parent else self._length(price, own_size),
            self._selection(below, price.type, inner) if below else Term(self._annotations.types[price.type.name]),
        )

    def _own_size(self, price: FieldPrice, node: FieldNode) -> Sized | None:
        if price.size is None:
            return None
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        return Sized(price.size, given, self._annotations.weights.size)

    def _length(self, price: FieldPrice, own_size: Sized | None) -> Sized | int:
        if own_size is not None and not own_size.by.sized:
            return own_size
        return self._annotations.weights.size if price.is_list and is_composite_type(price.type) else 1

    def _arguments(self, price: FieldPrice, node: FieldNode) -> Iterator[Term]:
        for argument in node.arguments or ():
            name = argument.name.value
            yield Term(price.argument_weights.get(name, 0.0))
            if self._annotations.inputs and name in price.arguments:
                yield self._input(get_named_type(price.arguments[name].type), argument.value)

    def _input(self, kind: GraphQLNamedType, node: ValueNode) -> Term:
        """The weights of the input fields that a value has, a variable's when it comes."""
        known, parts = 0.0, list[Weighed]()
        waiting: list[tuple[GraphQLNamedType, ValueNode]] = [(kind, node)]
        while waiting:
            kind, node = waiting.pop()
            if not isinstance(kind, GraphQLInputObjectType):
                continue
            if isinstance(node, VariableNode):
                parts.append(Weighed(node.name.value, kind.name, self._annotations.inputs))
            elif isinstance(node, ListValueNode):
                waiting += ((kind, each) for each in node.values)
            elif isinstance(node, ObjectValueNode):
                for each in node.fields:
                    known += self._annotations.inputs[kind.name].weights.get(each.name.value, 0.0)
                    waiting.append((get_named_type(kind.fields[each.name.value].type), each.value))
        return Term(known, tuple(parts))

    def _collect(self, sets: Sets, kind: GraphQLObjectType) -> Mapping[str, _Taken]:
        """The fields asked of an object type by response name, merged as execution merges them."""
        found: dict[str, _Taken] = {}
        for node, condition in self._fields(sets, kind):
            taken = found.setdefault((node.alias or node.name).value, _Taken(node))
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
            self._spend(len(chosen.selections))
            for node in chosen.selections:
                condition = _condition(node, above)
                if condition is None:
                    continue
                if isinstance(node, FieldNode):
                    yield node, condition
                elif (inner := self._inside(node, kind)) is not None and not self._seen(node, condition, seen):
                    waiting.append((inner, condition))

    def _spend(self, work: int) -> None:
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
