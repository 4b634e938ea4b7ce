"""How a document's operations become prices: selections collected as execution would, priced once each. Pure."""

from collections.abc import Iterator, Sequence
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

from citadel_edge.graph.cost import (
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
from citadel_edge.graph.cost_collect import Collector, CostObjection, Sets, Taken
from citadel_edge.graph.cost_introspection import META


class Planner:
    """Prices the operations of one valid document."""

    def __init__(self, schema: GraphQLSchema, annotations: Annotations, document: DocumentNode) -> None:
        self._schema = schema
        self._annotations = annotations
        self._collector = Collector(schema, document)
        self._priced: dict[tuple[Any, ...], Term] = {}
        self._introspected = 0

    def price(self, node: OperationDefinitionNode) -> Price:
        """The operation's price."""
        root = self._schema.get_root_type(node.operation)
        self._introspected = 0
        try:
            term = Term() if root is None else self._object((node.selection_set,), root, None, top=True)
            term = add([term, Term(self._annotations.introspection.price(self._introspected))])
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

    def _object(self, sets: Sets, kind: GraphQLObjectType, sized: Sized | None, *, top: bool = False) -> Term:
        """`top`: of the operation's own fields; what they ask of the schema has one price together."""
        terms = []
        for taken in self._collector.collect(sets, kind).values():
            if taken.node.name.value not in META:
                terms.append(self._field(taken, kind, sized))
            elif top:
                self._introspected += self._annotations.introspection.values(taken, self._collector)
            else:
                terms.append(Term(float(self._annotations.introspection.values(taken, self._collector))))
        return add(terms)

    def _field(self, taken: Taken, parent: GraphQLObjectType, sized: Sized | None) -> Term:
        name = taken.node.name.value
        if name == "__typename":
            return Term()
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
