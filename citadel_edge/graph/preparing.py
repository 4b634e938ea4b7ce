"""From what a client wants to an operation that may run: found, read, chosen, allowed and priced."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import GraphQLError, GraphQLSchema, OperationType, parse, validate

from citadel_edge.errors import Code
from citadel_edge.graph.answers import Refused, Stage, refusal
from citadel_edge.graph.operations import Operation, choose, operations_of
from citadel_edge.graph.settings import GraphSettings
from citadel_edge.graph.wanted import Wanted

KINDS: Final = frozenset(OperationType)
MAX_ERRORS: Final = 20
MAX_TOKENS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """An operation that may run, with its variables as sent and its price."""

    operation: Operation
    variables: Mapping[str, Any]
    cost: float = 0.0
    cost_limit: float | None = None

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.operation.kind

    @property
    def name(self) -> str | None:
        """The operation's name, if it has one."""
        return self.operation.name

    @property
    def hash(self) -> str:
        """What documents that differ in literals alone share."""
        return self.operation.shape.hash

    @property
    def incremental(self) -> bool:
        """Whether it may be answered in parts: a @defer or @stream in it may be on."""
        return self.operation.incremental


class Preparer:
    """Prepares requests against one schema."""

    def __init__(self, schema: GraphQLSchema, settings: GraphSettings) -> None:
        self._schema = schema
        self._settings = settings

    async def prepare(
        self, wanted: Wanted, *, allowed: Collection[OperationType], cost_limit: float | None
    ) -> Prepared:
        """Raises Refused."""
        if not wanted.query:
            raise refusal("send a GraphQL document as `query`", stage=Stage.REQUEST)
        operations = self._read(wanted.query)
        try:
            operation = choose(operations, wanted.operation_name)
        except GraphQLError as error:
            raise refused([error], stage=Stage.OPERATION) from None
        _demand_kind(operation, allowed)
        return Prepared(operation, wanted.variables or {}, cost_limit=cost_limit)

    def _read(self, text: str) -> Mapping[str | None, Operation]:
        try:
            document = parse(text, max_lexical_tokens=MAX_TOKENS)
        except GraphQLError as error:
            raise refused([error], stage=Stage.DOCUMENT) from None
        mistakes = validate(self._schema, document, max_errors=MAX_ERRORS)
        if mistakes:
            raise refused(mistakes, stage=Stage.DOCUMENT)
        return operations_of(document)


def refused(errors: Collection[GraphQLError], *, stage: Stage) -> Refused:
    """A refusal in graphql-core's words."""
    code = {"code": Code.INVALID_REQUEST.text}
    return Refused([{**error.formatted, "extensions": code} for error in errors], stage=stage)


def _demand_kind(operation: Operation, allowed: Collection[OperationType]) -> None:
    if operation.kind not in allowed:
        kinds = " or ".join(sorted(kind.value for kind in allowed))
        raise refusal(
            f"a {operation.kind.value} cannot be sent this way, which takes a {kinds}",
            stage=Stage.OPERATION,
            code=Code.METHOD_NOT_ALLOWED,
        )
