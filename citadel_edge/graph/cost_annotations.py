"""What a schema says its fields cost: `@cost` and `@listSize`, read once, and checked to name what there is.

The directives are those of IBM's GraphQL Cost Directives specification (https://ibm.github.io/graphql-specs/cost-spec).
A list is sized by one of its slicing arguments, by what its parent's `sizedFields` says, or by `assumedSize`; where all
arguments together say it, by a function that is given besides the schema (a measure), which may add to the cost. Pure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_composite_type,
    is_input_object_type,
    is_list_type,
    value_from_ast_untyped,
)

from citadel_edge.errors import StartError
from citadel_edge.graph.cost_introspection import Introspection, introspection_of


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a field's arguments ask for: how long its list is, and what it costs besides to find it.

    `share`: how many that are returned count as one of its length.
    """

    length: int
    work: float = 0.0
    share: int = 1


Measure = Callable[[Mapping[str, Any]], Estimate]
"""From a field's arguments as they were sent: nobody has checked them yet, and it may not raise."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much where the schema says nothing.

    `size`: how long a list of objects is taken to be. `introspection`: the whole schema, as tools ask for it.
    """

    object: float = 2.0
    leaf: float = 1.0
    size: int = 10
    introspection: float = 100.0


@dataclass(frozen=True, slots=True)
class Slice:
    """One slicing argument: its path (`first`, or `filter.max` as two names) and what it is when it is not sent."""

    path: Sequence[str]
    default: int | None


@dataclass(frozen=True, slots=True)
class ListSize:
    """How long a field's list is, or the lists in those of its fields that are `sized`."""

    where: str
    assumed: int | None
    slices: Sequence[Slice]
    sized: frozenset[str]
    require_one: bool
    measure: Measure | None = None


@dataclass(frozen=True, slots=True)
class FieldPrice:
    """What one field costs by itself, and how to size what it returns.

    `own` counts once for each parent; what is returned has its type's weight.
    """

    own: float
    type: GraphQLNamedType
    is_list: bool
    size: ListSize | None
    arguments: Mapping[str, GraphQLArgument]
    argument_weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class InputPrices:
    """An input type's weights by field, and the input types of those fields that have one."""

    weights: Mapping[str, float]
    types: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Annotations:
    """A schema's prices. `types` are object types and leaves; `inputs` has every input type, or none if none weighs.

    `introspection` prices what is asked of the schema itself.
    """

    weights: Weights
    types: Mapping[str, float]
    fields: Mapping[tuple[str, str], FieldPrice]
    inputs: Mapping[str, InputPrices]
    introspection: Introspection


@dataclass(slots=True)
class _Reader:
    schema: GraphQLSchema
    weights: Weights
    measures: Mapping[str, Measure]
    mistakes: list[str] = field(default_factory=list)
    measured: set[str] = field(default_factory=set)

    def read(self) -> Annotations:
        types = [t for name, t in self.schema.type_map.items() if not name.startswith("__")]
        fields = {
            (t.name, name): self._field(f"{t.name}.{name}", each)
            for t in types
            if isinstance(t, GraphQLObjectType | GraphQLInterfaceType)
            for name, each in t.fields.items()
        }
        outputs = {t.name: self._type_weight(t) for t in types if not (is_input_object_type(t) or is_abstract_type(t))}
        inputs = {t.name: self._input(t) for t in types if isinstance(t, GraphQLInputObjectType)}
        without = sorted(self.measures.keys() - self.measured)
        self.mistakes += [f"{where}: a measure for no field with @listSize" for where in without]
        if self.mistakes:
            raise StartError("the schema's costs: " + "; ".join(self.mistakes))
        weighted = any(each.weights for each in inputs.values())
        introspection = introspection_of(self.schema, self.weights.introspection)
        return Annotations(self.weights, outputs, fields, inputs if weighted else {}, introspection)

    def _input(self, kind: GraphQLInputObjectType) -> InputPrices:
        types = {name: get_named_type(each.type) for name, each in kind.fields.items()}
        return InputPrices(
            self._weighted(kind.name, kind.fields),
            {name: t.name for name, t in types.items() if isinstance(t, GraphQLInputObjectType)},
        )

    def _field(self, where: str, each: GraphQLField) -> FieldPrice:
        returned = get_named_type(each.type)
        return FieldPrice(
            own=self._weight(where, each) or 0.0,
            type=returned,
            is_list=is_list_type(get_nullable_type(each.type)),
            size=self._size(where, each),
            arguments=each.args,
            argument_weights=self._weighted(where, each.args),
        )

    def _type_weight(self, returned: GraphQLNamedType) -> float:
        said = self._weight(returned.name, returned)
        if said is not None:
            return said
        return self.weights.object if is_composite_type(returned) else self.weights.leaf

    def _weighted(self, where: str, parts: Mapping[str, Any]) -> dict[str, float]:
        found = {name: self._weight(f"{where}.{name}", part) for name, part in parts.items()}
        return {name: weight for name, weight in found.items() if weight}

    def _weight(self, where: str, definition: Any) -> float | None:
        for said in _directives(definition, "cost"):
            try:
                return float(said["weight"])
            except (KeyError, TypeError, ValueError):
                self.mistakes.append(f"{where}: @cost needs a number as weight")
        return None

    def _size(self, where: str, each: GraphQLField) -> ListSize | None:
        for said in _directives(each, "listSize"):
            slices = [self._slice(where, each, name) for name in said.get("slicingArguments") or ()]
            sized = frozenset(said.get("sizedFields") or ())
            missing = sized - set(getattr(get_named_type(each.type), "fields", ()))
            self.mistakes += [f"{where}: sizedFields names no field: {name}" for name in sorted(missing)]
            if not sized and not is_list_type(get_nullable_type(each.type)):
                self.mistakes.append(f"{where}: @listSize is on no list and names no sizedFields")
            self.measured.add(where)
            return ListSize(
                where,
                said.get("assumedSize"),
                [found for found in slices if found is not None],
                sized,
                said.get("requireOneSlicingArgument", True) and bool(slices),
                self.measures.get(where),
            )
        return None

    def _slice(self, where: str, each: GraphQLField, name: str) -> Slice | None:
        path = name.split(".")
        parts: Mapping[str, Any] = each.args
        default: Any = None
        for depth, step in enumerate(path):
            part = parts.get(step)
            if part is None:
                self.mistakes.append(f"{where}: slicingArguments names no argument: {name}")
                return None
            default = _default(part) if depth == 0 or default is None else default.get(step, _default(part))
            parts = getattr(get_named_type(part.type), "fields", {})
        return Slice(path, default if isinstance(default, int) else None)


def annotations_of(
    schema: GraphQLSchema, weights: Weights, measures: Mapping[str, Measure] | None = None
) -> Annotations:
    """What the schema's directives say. Raises StartError naming every mistake in them.

    `measures`: for fields, as `Query.usage`, in the place of their slicing arguments.
    """
    return _Reader(schema, weights, measures or {}).read()


def _default(part: Any) -> Any:
    node = getattr(part.ast_node, "default_value", None)
    return None if node is None else value_from_ast_untyped(node)


def _directives(definition: Any, name: str) -> Iterator[dict[str, Any]]:
    nodes = (definition.ast_node, *(getattr(definition, "extension_ast_nodes", None) or ()))
    for node in nodes:
        for directive in getattr(node, "directives", None) or ():
            if directive.name.value == name:
                values = ((a.name.value, value_from_ast_untyped(a.value)) for a in directive.arguments or ())
                yield {key: value for key, value in values if value is not Undefined}
