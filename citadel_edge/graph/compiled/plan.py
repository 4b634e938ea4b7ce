"""An operation laid out for one combination of its conditions: which fields, of which types, where.

What stands below interfaces and unions is laid out for each type that may turn up, so that nothing is left to do while
a request waits. The whole is bounded: fragments spread within fragments may ask for far more fields than a document has
letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    default_field_resolver,
    get_named_type,
    is_abstract_type,
)
from graphql.execution.collect_fields import (
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues

from citadel_edge.graph.compiled.code import Scribe
from citadel_edge.graph.compiled.completers import Types
from citadel_edge.graph.compiled.conditions import NotCovered
from citadel_edge.graph.compiled.selections import Field, Selection
from citadel_edge.graph.compiled.sources import Access, Plain

BYTES_A_SELECTION: Final = 7_500
BYTES_A_FIELD: Final = 3_000


@dataclass(eq=False, kw_only=True)
class Plan:
    """The selections of an operation. `conditions`: the values of the variables that decide; `most`: fields at most."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDetails]
    conditions: VariableValues
    most: int
    hide_suggestions: bool
    plain: Plain = field(default_factory=Plain)
    written: bool = False
    _fields: int = 0
    _known: dict[tuple[str, int], Selection] = field(default_factory=dict)
    _made: list[Selection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._scribe = Scribe(Types(self._planned, self.plain), hide_suggestions=self.hide_suggestions)

    def root(self) -> Selection:
        """The operation's own selection. Raises NotCovered when the operation asks for too much."""
        return self._selection(*self._root())

    def parts(self) -> list[Selection]:
        """The same, a selection for each root field, for mutations, which run one after the other."""
        parent, fields = self._root()
        return [self._selection(parent, (one,)) for one in fields]

    def write(self) -> None:
        """Write the functions for sources that are dicts, and for objects; others are written when they turn up."""
        for selection in self._made:
            selection.function(Access.ITEM)
            selection.function(Access.ATTRIBUTE)
        self.written = True

    @property
    def size(self) -> int:
        """About the bytes that the plan holds with its functions written."""
        return BYTES_A_SELECTION * len(self._made) + BYTES_A_FIELD * self._fields

    def selection(self, parent: GraphQLObjectType, details: FieldDetailsList) -> Selection | None:
        """What `details` ask of a type; None when nothing was laid out for it."""
        return self._known.get((parent.name, id(details)))

    def _planned(self, parent: GraphQLObjectType, below: Field) -> Selection:
        """The same for what is known to be laid out."""
        return self._known[parent.name, id(below.details)]

    def _root(self) -> tuple[GraphQLObjectType, tuple[Field, ...]]:
        parent = self.schema.get_root_type(self.operation.operation)
        if parent is None:
            raise NotCovered("the schema has no such operation")
        found = collect_fields(self.schema, self.fragments, self.conditions, parent, self.operation)
        return parent, self._laid_out(parent, found.grouped_field_set)

    def _planned_below(self, parent: GraphQLObjectType, details: FieldDetailsList) -> Selection:
        found = collect_subfields(self.schema, self.fragments, self.conditions, self.operation, parent, details)
        return self._selection(parent, self._laid_out(parent, found.grouped_field_set))

    def _laid_out(self, parent: GraphQLObjectType, grouped: GroupedFieldSet) -> tuple[Field, ...]:
        """The fields of a type, after what stands below them."""
        self._fields += len(grouped)
        if self._fields > self.most:
            raise NotCovered(f"more than {self.most} fields")
        pairs = ((_field(self.schema, parent, key, details)) for key, details in grouped.items())
        fields = tuple(one for one in pairs if one is not None)
        for one in fields:
            for kind in self._possible(get_named_type(one.type)):
                self._known[kind.name, id(one.details)] = self._planned_below(kind, one.details)
        return fields

    def _possible(self, named: GraphQLNamedType) -> Sequence[GraphQLObjectType]:
        if is_abstract_type(named):
            return self.schema.get_possible_types(named)
        return (named,) if isinstance(named, GraphQLObjectType) else ()

    def _selection(self, parent: GraphQLObjectType, fields: tuple[Field, ...]) -> Selection:
        types = self._scribe.types
        selection = Selection(
            parent=parent,
            fields=fields,
            sliced=any(types.is_sliced(one, one.type) for one in fields),
            asks=any(one.resolve is not None or types.asks(one) for one in fields),
            plain=self.plain,
            build=self._scribe.build,
        )
        self._made.append(selection)
        return selection


def _field(schema: GraphQLSchema, parent: GraphQLObjectType, key: str, details: FieldDetailsList) -> Field | None:
    """None for a field that the type does not have: the executor leaves it out, too."""
    nodes = [detail.node for detail in details]
    definition = schema.get_field(parent, nodes[0].name.value)
    if definition is None:
        return None
    return Field(
        key=key,
        details=details,
        nodes=nodes,
        definition=definition,
        parent=parent,
        resolve=_resolver(definition),
    )


def _resolver(definition: GraphQLField) -> Any:
    """None when the field is read from its source; with arguments the default resolver is called like any other."""
    if definition.resolve is None or definition.resolve is default_field_resolver:
        return default_field_resolver if definition.args else None
    return definition.resolve
