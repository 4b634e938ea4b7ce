"""The graph as every transport of this door asks it: who asks, at which price, and what is counted of it.

Decides that a query or a mutation takes a seat of the listener's budget where its connection has none, and that a
subscription takes none: it mostly waits. Refuses to know how requests come and answers go.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aiohttp import web
from graphql import OperationType

from citadel_edge.accounts.principal import Principal
from citadel_edge.budgets.budget import Budget, Seat
from citadel_edge.completions.call import hold_uncounted
from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.answers import Answer, Refused
from citadel_edge.graph.context import Context, plain
from citadel_edge.graph.masking import extensions_of
from citadel_edge.graph.preparing import KINDS, Prepared
from citadel_edge.graph.running import Graph
from citadel_edge.graph.wanted import Wanted
from citadel_edge.listeners.graphql.metrics import GraphQLMetrics, Outcome, Transport, Watched
from citadel_edge.telemetry.trace import Trace

LONGEST_NAME: Final = 64
_STOPPED: Final = Code.LISTENER_STOPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks for one operation.

    Attributes:
        seat: of the listener's budget, where the request took one.
        hold: told how many bytes more the operation makes its listener hold.
        facts: for the log's line of it.
    """

    principal: Principal
    request_id: str
    trace: Trace
    transport: Transport
    seat: Seat | None = None
    hold: Callable[[int], None] = hold_uncounted
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> dict[str, Any]:
        """What the log says of an operation whose request is not a line of its own. Facts come from many hands."""
        who = {"user": self.principal.user_id, "tier": self.principal.tier}
        return {**who, **self.facts, "request_id": self.request_id}


@dataclass(frozen=True, slots=True)
class Shown:
    """One word of an answer. With a `status` of 400 or more there is no data in it, and nothing comes behind it."""

    payload: Mapping[str, Any]
    status: int = 200

    @property
    def elsewhere(self) -> bool:
        """Whether it is no answer: the process stops, and the client has it done again by another."""
        return self.status == _STOPPED.status and any(
            error["extensions"].get("code") == _STOPPED.text for error in self.payload["errors"]
        )


ContextOf = Callable[[Caller], Context]
CostLimit = Callable[[Principal], float | None]


class Service:
    """One graph behind this door.

    Args:
        graph: what answers.
        context: what resolvers find, for each operation anew.
        budget: the listener's.
        metrics: the listener's.
        cost_limit: what one operation of a caller may cost; null for no limit.
    """

    def __init__(
        self, graph: Graph, *, context: ContextOf, budget: Budget, metrics: GraphQLMetrics, cost_limit: CostLimit
    ) -> None:
        self._graph = graph
        self._context = context
        self._budget = budget
        self._metrics = metrics
        self._cost_limit = cost_limit

    async def prepare(self, wanted: Wanted, caller: Caller, *, allowed: Collection[OperationType] = KINDS) -> Prepared:
        """Raises Refused."""
        try:
            prepared = await self._graph.prepare(wanted, allowed=allowed, cost_limit=self._cost_limit(caller.principal))
        except Refused:
            self.refused(caller)
            raise
        name = prepared.name[:LONGEST_NAME] if prepared.name else None
        caller.facts.update(kind=prepared.kind.value, operation=name, document=prepared.hash, cost=prepared.cost)
        return prepared

    def refused(self, caller: Caller) -> None:
        """A request was refused before anything ran."""
        self._metrics.refused()
        caller.facts["outcome"] = "refused"

    async def whole(self, prepared: Prepared, caller: Caller) -> Answer:
        """Run a query or a mutation on the seat that the request has."""
        with self._running(prepared, caller) as (context, watched):
            answer = await self._graph.run(prepared, context)
            watched.answered(answer)
            return answer

    async def parts(self, prepared: Prepared, caller: Caller) -> AsyncGenerator[dict[str, Any], None]:
        """Run a query or a mutation on the seat that the request has, for an answer in parts."""
        with self._running(prepared, caller) as (context, watched):
            async with aclosing(self._graph.run_incrementally(prepared, context)) as parts:
                async for part in parts:
                    watched.part(errors=_has_errors(part))
                    yield part

    async def words(self, prepared: Prepared, caller: Caller) -> AsyncGenerator[Shown, None]:
        """Run an operation of any kind, for a connection that takes any number of answers."""
        if prepared.kind is OperationType.SUBSCRIPTION:
            async with aclosing(self._events(prepared, caller)) as events:
                async for event in events:
                    yield event
            return
        try:
            async with (
                self._budget.admit() as seat,
                aclosing(self._answers(prepared, replace(caller, seat=seat))) as answers,
            ):
                async for answer in answers:
                    yield answer
        except RequestError as refused:
            yield Shown(error_payload(refused, caller.request_id), refused.code.status)

    async def _answers(self, prepared: Prepared, caller: Caller) -> AsyncGenerator[Shown, None]:
        if not prepared.incremental:
            answer = await self.whole(prepared, caller)
            yield Shown(answer.payload(), answer.status)
            return
        async with aclosing(self.parts(prepared, caller)) as parts:
            async for part in parts:
                yield Shown(part)

    async def _events(self, prepared: Prepared, caller: Caller) -> AsyncGenerator[Shown, None]:
        with self._running(prepared, caller) as (context, watched):
            async with aclosing(self._graph.subscribe(prepared, context)) as answers:
                async for answer in answers:
                    shown = Shown(answer.payload(), answer.status)
                    if not shown.elsewhere:
                        watched.answered(answer)
                    yield shown

    @contextmanager
    def _running(self, prepared: Prepared, caller: Caller) -> Iterator[tuple[Context, Watched]]:
        context = self._context(caller)
        with self._metrics.running(prepared, context.spent, caller.transport) as watched:
            try:
                yield context, watched
            finally:
                caller.facts["outcome"] = watched.outcome or Outcome.CANCELLED
                caller.facts["cost"] = plain(context.spent.actual)


SERVICE: web.AppKey[Service] = web.AppKey("graph_service", Service)


def error_payload(error: RequestError, request_id: str) -> dict[str, Any]:
    """An answer that is nothing but this error."""
    return {"errors": [{"message": error.message, "extensions": extensions_of(error, request_id)}]}


def _has_errors(part: Mapping[str, Any]) -> bool:
    lists = (part.get("incremental") or (), part.get("completed") or ())
    return bool(part.get("errors")) or any(each.get("errors") for found in lists for each in found)
