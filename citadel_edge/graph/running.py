"""The one face of the graph that transports use: prepare a request, then run it in the way its kind asks for.

Decides what runs an operation and for how long. Refuses to know how requests come and answers go, and what resolvers
do. Cancelling the task that runs an operation, or closing its iterator, cancels its resolvers and closes their
generators: transports wrap the iterators in `contextlib.aclosing`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Collection
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from graphql import ExecutionResult, GraphQLSchema, OperationType
from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.answers import Answer
from citadel_edge.graph.context import Context
from citadel_edge.graph.executing import Execution
from citadel_edge.graph.incremental import Part, first_part, next_part
from citadel_edge.graph.masking import Mask, Told, only_request_errors
from citadel_edge.graph.preparing import KINDS, Prepared, Preparer
from citadel_edge.graph.settings import GraphSettings
from citadel_edge.graph.wanted import Wanted
from citadel_edge.telemetry.clock import Clock

T = TypeVar("T")


class Graph:
    """A schema that answers requests.

    `told` translates exceptions of resolvers to what a client may be told; what it does not know is masked and logged.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        settings: GraphSettings | None = None,
        told: Told = only_request_errors,
    ) -> None:
        self.schema = schema
        self.settings = settings or GraphSettings()
        self._clock = clock
        self._log = log
        self._mask = Mask(told, log)
        self._preparer = Preparer(schema, self.settings)

    async def prepare(
        self, wanted: Wanted, *, allowed: Collection[OperationType] = KINDS, cost_limit: float | None = None
    ) -> Prepared:
        """Everything that can be said before anything runs. Raises Refused."""
        return await self._preparer.prepare(wanted, allowed=allowed, cost_limit=cost_limit)

    async def run(self, prepared: Prepared, context: Context) -> Answer:
        """Run a query or a mutation to its end; @defer and @stream in it are taken as off."""
        execution = self._build(prepared, context, incremental=False)
        if isinstance(execution, Answer):
            return execution
        try:
            return self._answer(await _timed(execution.run(), self._timeout_s(prepared)), prepared, context)
        except RequestError as late:
            return self._failed(late, prepared, context)
        finally:
            execution.close()

    async def run_incrementally(self, prepared: Prepared, context: Context) -> AsyncGenerator[Part, None]:
        """Run a query or a mutation whose deferred parts come later; the last part has `hasNext` false.

        The query's own cost is told with the first.
        """
        execution = self._build(prepared, context, incremental=True)
        if isinstance(execution, Answer):
            yield {**execution.payload(), "hasNext": False}
            return
        try:
            async with aclosing(self._parts(execution, prepared, context)) as parts:
                async for part in parts:
                    yield part
        except RequestError as late:
            yield {**self._failed(late, prepared, context).payload(), "hasNext": False}
        finally:
            execution.close()
            await execution.stop_incremental()

    async def subscribe(self, prepared: Prepared, context: Context) -> AsyncGenerator[Answer, None]:
        """Run a subscription: an answer for each event of its source. One with a status of 400 or more is the last."""
        execution = self._build(prepared, context, incremental=False)
        if isinstance(execution, Answer):
            yield execution
            return
        try:
            async with aclosing(self._events(execution, prepared, context)) as answers:
                async for answer in answers:
                    yield answer
        except RequestError as late:
            yield self._failed(late, prepared, context)
        except Exception as error:
            self._log.exception("a subscription's source failed", request_id=context.request_id)
            yield self._failed(error, prepared, context)
        finally:
            execution.close()

    async def _parts(self, execution: Execution, prepared: Prepared, context: Context) -> AsyncGenerator[Part, None]:
        ends_s = self._clock.monotonic_s() + self._timeout_s(prepared)
        result = await _timed(execution.begin(), self._timeout_s(prepared))
        if isinstance(result, ExecutionResult):
            yield {**self._answer(result, prepared, context).payload(), "hasNext": False}
            return
        first = first_part(result.initial_result, self._mask, context.request_id)
        yield {**first, "extensions": _extensions(prepared, context)}
        async with aclosing(result.subsequent_results) as following:
            while (part := await _timed(anext(following, None), ends_s - self._clock.monotonic_s())) is not None:
                yield next_part(part, self._mask, context.request_id)

    async def _events(self, execution: Execution, prepared: Prepared, context: Context) -> AsyncGenerator[Answer, None]:
        timeout_s = self.settings.event_timeout_s
        source = await _timed(execution.source(), timeout_s)
        if isinstance(source, ExecutionResult):
            yield self._answer(source, prepared, context, status=400)
            return
        async with _closing(source) as events:
            async for event in events:
                yield self._answer(await _timed(execution.event(event), timeout_s), prepared, context)

    def _build(self, prepared: Prepared, context: Context, *, incremental: bool) -> Execution | Answer:
        execution = Execution.build(
            self.schema,
            prepared.operation,
            variables=prepared.variables,
            context=context,
            clock=self._clock,
            incremental=incremental,
            hide_suggestions=not self.settings.introspection,
        )
        if isinstance(execution, list):
            return Answer(errors=self._mask.shown(execution, context.request_id), status=400)
        return execution

    def _answer(self, result: ExecutionResult, prepared: Prepared, context: Context, *, status: int = 200) -> Answer:
        errors = self._mask.shown(result.errors or (), context.request_id)
        return Answer(result.data, errors, _extensions(prepared, context), status)

    def _failed(self, error: Exception, prepared: Prepared, context: Context) -> Answer:
        shown, status = self._mask.whole(error, context.request_id)
        return Answer(errors=[shown], extensions=_extensions(prepared, context), status=status)

    def _timeout_s(self, prepared: Prepared) -> float:
        mutation = prepared.kind is OperationType.MUTATION
        return self.settings.mutation_timeout_s if mutation else self.settings.query_timeout_s


def _extensions(prepared: Prepared, context: Context) -> dict[str, Any]:
    cost = {"requested": prepared.cost, "limit": prepared.cost_limit, **context.spent.shown()}
    return {"cost": cost}


async def _timed(value: Awaitable[T], seconds: float) -> T:
    """The value; raises DEADLINE_EXCEEDED when it is not there in time, having cancelled what makes it."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await value
    except TimeoutError:
        if limit.expired():
            raise RequestError(Code.DEADLINE_EXCEEDED, f"the operation took longer than {seconds:g} s") from None
        raise


@asynccontextmanager
async def _closing(source: AsyncIterable[T]) -> AsyncGenerator[AsyncIterator[T], None]:
    """The source's iterator, closed in the end if it can be."""
    iterator = aiter(source)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
