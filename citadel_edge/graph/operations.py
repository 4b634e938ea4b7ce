"""What is known of a valid document before it runs: its operations, each with its name, hash, nature and price."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import sha256
from typing import Any

from graphql import (
    ArgumentNode,
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Token,
    TokenKind,
)

from citadel_edge.graph.bounds import META
from citadel_edge.graph.cost_annotations import Annotations
from citadel_edge.graph.cost_plan import Planner
from citadel_edge.graph.cost_price import Price
from citadel_edge.graph.streamed import counts_in

SHAPE_CHARACTERS = 1_000
_LITERALS = {TokenKind.INT: "0", TokenKind.FLOAT: "0", TokenKind.STRING: '""', TokenKind.BLOCK_STRING: '""'}
_INCREMENTAL = frozenset({"defer", "stream"})


class Introspects(Enum):
    """Whether an operation asks for the schema: not at all, among other things, or for nothing else."""

    NO = auto()
    PARTLY = auto()
    ONLY = auto()


@dataclass(frozen=True, slots=True)
class Shape:
    """What operations that differ in their literals alone share: a hash of 16 hex digits, and the text without them."""

    hash: str
    text: str


@dataclass(slots=True)
class Warmth:
    """How often an operation ran, and what it was compiled to, if it can be; `busy`: it is at it."""

    runs: int = 0
    compiled: Any = None
    busy: bool = False
    hopeless: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of a valid document.

    Attributes:
        incremental: a @defer or @stream in it may be on.
        stream_counts: where a @stream is told how many items come at once.
    """

    document: DocumentNode
    node: OperationDefinitionNode
    name: str | None
    shape: Shape
    introspects: Introspects
    incremental: bool
    price: Price
    stream_counts: Sequence[ArgumentNode]
    warmth: Warmth = field(default_factory=Warmth)

    @property
    def text(self) -> str:
        """The document as it was sent."""
        return self.node.loc.source.body if self.node.loc else ""

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.node.operation


def operations_of(
    document: DocumentNode, schema: GraphQLSchema, annotations: Annotations
) -> Mapping[str | None, Operation]:
    """A valid document's operations by name; an anonymous one is alone and has none."""
    planner = Planner(schema, annotations, document)
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    shape = _shape(document)
    nodes = (d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    found = (_operation(document, node, fragments, shape, planner.price(node)) for node in nodes)
    return {operation.name: operation for operation in found}


def choose(operations: Mapping[str | None, Operation], name: str | None) -> Operation:
    """The operation to run. Raises GraphQLError when the name is unknown, or there are several and none is named."""
    if name is not None:
        if name not in operations:
            raise GraphQLError(f"Unknown operation named '{name}'.")
        return operations[name]
    if len(operations) != 1:
        raise GraphQLError("Must provide operation name if query contains multiple operations.")
    return next(iter(operations.values()))


def _operation(
    document: DocumentNode,
    node: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    shape: Shape,
    price: Price,
) -> Operation:
    sets = list(_selection_sets(node.selection_set, fragments))
    return Operation(
        document=document,
        node=node,
        name=node.name.value if node.name else None,
        shape=shape,
        introspects=_introspects(node.selection_set, fragments),
        incremental=any(_is_incremental(selections) for selections in sets),
        price=price,
        stream_counts=counts_in(sets),
    )


def _selection_sets(
    root: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[SelectionSetNode]:
    """Every selection set that the root reaches, each fragment's once."""
    waiting, seen = [root], set[str]()
    while waiting:
        chosen = waiting.pop()
        yield chosen
        for node in chosen.selections:
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in seen and name in fragments:
                    seen.add(name)
                    waiting.append(fragments[name].selection_set)
            elif (deeper := getattr(node, "selection_set", None)) is not None:
                waiting.append(deeper)


def _is_incremental(chosen: SelectionSetNode) -> bool:
    """A directive whose `if` is a literal false is off for good."""
    return any(
        directive.name.value in _INCREMENTAL
        and not any(
            argument.name.value == "if" and isinstance(argument.value, BooleanValueNode) and not argument.value.value
            for argument in directive.arguments or ()
        )
        for node in chosen.selections
        for directive in node.directives or ()
    )


def _introspects(root: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Introspects:
    names = set(_root_fields(root, fragments))
    if not names & META:
        return Introspects.NO
    return Introspects.ONLY if names <= META | {"__typename"} else Introspects.PARTLY


def _root_fields(root: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[str]:
    waiting, seen = [root], set[str]()
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FieldNode):
                yield node.name.value
            elif isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in seen and name in fragments:
                    seen.add(name)
                    waiting.append(fragments[name].selection_set)
            elif isinstance(node, InlineFragmentNode):
                waiting.append(node.selection_set)


def _shape(document: DocumentNode) -> Shape:
    text = " ".join(_without_literals(document))
    return Shape(sha256(text.encode()).hexdigest()[:16], text[:SHAPE_CHARACTERS])


def _without_literals(document: DocumentNode) -> Iterator[str]:
    """The lexed tokens, a literal as 0 or an empty string, several in a row as one."""
    token: Token | None = document.loc.start_token.next if document.loc else None
    last = ""
    while token is not None and token.kind is not TokenKind.EOF:
        if token.kind is not TokenKind.COMMENT:
            word = _LITERALS.get(token.kind) or token.value or token.kind.value
            if word != last or token.kind not in _LITERALS:
                yield word
            last = word
        token = token.next
