"""How a document's operations become prices: selections collected as execution would, priced once each. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
    is_composite_type,
)

from citadel_edge.graph.bounds import META
from citadel_edge.graph.cost import Sized, Term, Weighed, add, dearest, defaults_of, fold
from citadel_edge.graph.cost_annotations import Annotations, FieldPrice
from citadel_edge.graph.cost_answered import Below, Kind
from citadel_edge.graph.cost_collect import Collector, CostObjection, Sets, Taken
from citadel_edge.graph.cost_price import Price


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of a field or of an object: as estimated, and what an answer is counted by, the dearest first."""

    term: Term
    kinds: Sequence[Kind] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    """One field of an object: as estimated, without the objects that it answers, and what is asked of those."""

    term: Term
    flat: Term
    below: Below | None = None


class Planner:
    """Prices the operations of one valid document."""

    def __init__(self, schema: GraphQLSchema, annotations: Annotations, document: DocumentNode) -> None:
        self._schema = schema
        self._annotations = annotations
        self._collector = Collector(schema, document)
        self._asked: dict[tuple[Any, ...], _Asked] = {}
        self._introspected = 0

    def price(self, node: OperationDefinitionNode) -> Price:
        """The operation's price."""
        root = self._schema.get_root_type(node.operation)
        self._introspected = 0
        if root is None:
            return Price()
        try:
            asked = self._object((node.selection_set,), root, None, top=True)
        except CostObjection as objection:
            return Price(objection=str(objection))
        return Price(asked.term, defaults_of(node), asked.kinds[0])

    def _selection(self, sets: Sets, kind: GraphQLNamedType, sized: Sized | None) -> _Asked:
        """What the selections cost, asked of one object of this type. `sized` sizes some of its fields."""
        key = (*map(id, sets), kind.name, sized)
        found = self._asked.get(key)
        if found is None:
            each = [self._object(sets, possible, sized) for possible in self._possible(kind)]
            each.sort(key=lambda one: one.term.known, reverse=True)
            found = self._asked[key] = _Asked(
                dearest([one.term for one in each]), tuple(kind for one in each for kind in one.kinds)
            )
        return found

    def _possible(self, kind: GraphQLNamedType) -> Sequence[GraphQLObjectType]:
        if is_abstract_type(kind):
            return self._schema.get_possible_types(kind)
        return (kind,) if isinstance(kind, GraphQLObjectType) else ()

    def _object(self, sets: Sets, kind: GraphQLObjectType, sized: Sized | None, *, top: bool = False) -> _Asked:
        """`top`: the operation itself, which has no weight; what it asks of the schema has one price together."""
        taken = self._collector.collect(sets, kind)
        parts = [self._part(each, kind, sized, top=top) for each in taken.values()]
        introspected = self._annotations.introspection.price(self._introspected) if top else 0.0
        own = Term(introspected if top else self._annotations.types[kind.name])
        counted = Kind(
            flat=add([own, *(part.flat for part in parts)]),
            below=tuple(part.below for part in parts if part.below is not None),
            always=frozenset(name for name, each in taken.items() if not each.when),
            names=frozenset(taken),
        )
        return _Asked(add([own, *(part.term for part in parts)]), (counted,))

    def _part(self, taken: Taken, parent: GraphQLObjectType, sized: Sized | None, *, top: bool) -> _Part:
        if taken.node.name.value not in META:
            return self._field(taken, parent, sized)
        values = self._annotations.introspection.values(taken, self._collector)
        if top:
            self._introspected += values
        term = Term() if top else Term(float(values))
        return _Part(term, term)

    def _field(self, taken: Taken, parent: GraphQLObjectType, sized: Sized | None) -> _Part:
        name = taken.node.name.value
        if name == "__typename":
            return _Part(Term(), Term())
        price = self._annotations.fields[parent.name, name]
        own_size = self._own_size(price, taken.node)
        by_parent = sized is not None and name in sized.by.sized
        size = sized if sized is not None and by_parent else self._length(price, own_size)
        own = add(
            [Term(price.own), *self._arguments(price, taken.node), Term() if own_size is None else own_size.work()]
        )
        if not taken.below:
            term = fold(taken.when, own, size, Term(self._annotations.types[price.type.name]))
            return _Part(term, term)
        inner = own_size if own_size is not None and own_size.by.sized else None
        asked = self._selection(tuple(taken.below.values()), price.type, inner)
        measured = None if isinstance(size, int) or size.by.measure is None else size
        return _Part(
            fold(taken.when, own, size, asked.term),
            fold(taken.when, own, 0, Term()),
            Below((taken.node.alias or taken.node.name).value, asked.kinds, measured),
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
