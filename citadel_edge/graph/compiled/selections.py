"""What is asked of one object type at one place of a document: its fields, and the functions that answer them.

A selection's functions are made when the first source of their kind arrives, so that a document pays for the types it
meets and not for those it might.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import FieldNode, GraphQLField, GraphQLObjectType, GraphQLOutputType
from graphql.execution.collect_fields import FieldDetailsList

from citadel_edge.graph.compiled.sources import MOST, Access, Plain, access_to

Complete = Callable[..., Any]
"""`(source, trail, index, run)` to a finished object, a coroutine of one, or, where it is sliced, steps to either."""
Build = Callable[["Selection", Access], Complete]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Field:
    """One response key: merged field nodes, what they resolve to and how."""

    key: str
    details: FieldDetailsList
    nodes: list[FieldNode]
    definition: GraphQLField
    parent: GraphQLObjectType
    resolve: Callable[..., Any] | None
    """None: read from the source, as the default resolver would."""

    @property
    def name(self) -> str:
        """The field's name in the schema."""
        return self.nodes[0].name.value

    @property
    def type(self) -> GraphQLOutputType:
        """The type in the schema, with its wrappers."""
        return self.definition.type

    @property
    def told(self) -> tuple[Any, ...]:
        """The first values of a resolver's `info`, those of the field itself."""
        return (self.name, self.nodes, self.type, self.parent)


@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """The fields of one object type at one place."""

    parent: GraphQLObjectType
    fields: tuple[Field, ...]
    sliced: bool
    """Whether completing one may take long: its functions are generators then."""
    asks: bool
    """Whether resolvers are called for its fields, or anywhere below: they ask for the place, and take their time."""
    plain: Plain
    build: Build
    by_access: dict[Access, Complete] = field(default_factory=dict)

    @cached_property
    def front(self) -> "Front":
        """The function for a value's class; None for values that must be asked what they are."""
        return Front(self)

    def function_for(self, cls: type) -> Complete:
        """The function for a source of this class, whatever the class is."""
        return self.function(access_to(cls))

    def function(self, access: Access) -> Complete:
        """The function for sources that are read this way, written when it is first asked for."""
        if access not in self.by_access:
            self.by_access[access] = self.build(self, access)
        return self.by_access[access]


class Front(dict[type, Complete | None]):
    """A selection's functions by the class of the source."""

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self._selection = selection

    def __missing__(self, cls: type) -> Complete | None:
        selection = self._selection
        sure = selection.plain[cls] and selection.parent.is_type_of is None
        function = selection.function_for(cls) if sure else None
        if len(self) < MOST:
            self[cls] = function
        return function
