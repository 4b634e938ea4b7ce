"""From what a client wants to an operation that may run: found, read, chosen, allowed and priced."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import GraphQLError, GraphQLSchema, OperationType

from citadel_edge.errors import Code
from citadel_edge.graph.answers import Refused, Stage, refusal
from citadel_edge.graph.aside import Aside
from citadel_edge.graph.bounds import objection_to_variables
from citadel_edge.graph.context import plain
from citadel_edge.graph.cost_annotations import annotations_of
from citadel_edge.graph.cost_collect import CostObjection
from citadel_edge.graph.documents import Documents
from citadel_edge.graph.naming import Names
from citadel_edge.graph.operations import Introspects, Operation, choose
from citadel_edge.graph.reading import Reader, Rejected, shown
from citadel_edge.graph.settings import GraphSettings
from citadel_edge.graph.streamed import ARGUMENT, objection_to_counts
from citadel_edge.graph.trusted import Trust
from citadel_edge.graph.wanted import Wanted

KINDS: Final = frozenset(OperationType)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An operation that may run, with its variables as sent, and what it costs of what it may."""

    operation: Operation
    variables: Mapping[str, Any]
    cost: float
    cost_limit: float | None

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
    """Prepares requests against one schema. Building it blocks where there are trusted documents to read."""

    def __init__(self, schema: GraphQLSchema, settings: GraphSettings, aside: Aside) -> None:
        self._settings = settings
        reader = Reader(
            schema,
            annotations_of(schema, settings.weights, settings.measures),
            settings.bounds,
            hide_suggestions=not settings.introspection,
        )
        self.documents = Documents(reader, aside)
        if settings.trust is not Trust.OFF:
            self.documents.pin(settings.trusted)
        self._names = Names(settings.trust, settings.trusted, settings.persisted)

    async def prepare(
        self, wanted: Wanted, *, allowed: Collection[OperationType], cost_limit: float | None
    ) -> Prepared:
        """Everything that can be said before anything runs. Raises Refused."""
        variables = self._variables(wanted)
        named = self._names.find(wanted)
        document = await self.documents.document(named.text)
        if isinstance(document, Rejected):
            raise Refused(document.errors, stage=Stage.DOCUMENT)
        self._names.keep(named)
        try:
            operation = choose(document.operations, wanted.operation_name)
        except GraphQLError as error:
            raise Refused([shown(error)], stage=Stage.OPERATION) from None
        _demand_kind(operation, allowed)
        self._demand_introspection(operation)
        _demand_counts(operation, variables)
        return Prepared(operation, variables, _affordable(operation, variables, cost_limit), cost_limit)

    def _variables(self, wanted: Wanted) -> Mapping[str, Any]:
        if not wanted.variables:
            return {}
        refused = objection_to_variables(wanted.variables, self._settings.bounds)
        if refused is not None:
            raise refusal(refused, stage=Stage.REQUEST, param="variables")
        return wanted.variables

    def _demand_introspection(self, operation: Operation) -> None:
        if operation.introspects is not Introspects.NO and not self._settings.introspection:
            raise refusal(
                "the schema cannot be asked for here: introspection is switched off",
                stage=Stage.OPERATION,
                code=Code.FORBIDDEN,
            )


def _affordable(operation: Operation, variables: Mapping[str, Any], limit: float | None) -> float:
    try:
        cost = operation.price.of(variables)
    except CostObjection as objection:
        raise refusal(str(objection), stage=Stage.OPERATION) from None
    if limit is not None and cost > limit:
        raise refusal(
            f"the operation costs {plain(cost)}, more than the {plain(limit)} that one may cost;"
            " ask for fewer fields or items",
            stage=Stage.OPERATION,
            cost={"requested": cost, "limit": limit},
        )
    return plain(cost)


def _demand_counts(operation: Operation, variables: Mapping[str, Any]) -> None:
    wrong = objection_to_counts(operation.stream_counts, {**operation.price.defaults, **variables})
    if wrong is not None:
        raise Refused([shown(wrong, param=ARGUMENT)], stage=Stage.OPERATION)


def _demand_kind(operation: Operation, allowed: Collection[OperationType]) -> None:
    if operation.kind not in allowed:
        kinds = " or ".join(sorted(kind.value for kind in allowed))
        raise refusal(
            f"a {operation.kind.value} cannot be sent this way, which takes a {kinds}",
            stage=Stage.OPERATION,
            code=Code.METHOD_NOT_ALLOWED,
        )
