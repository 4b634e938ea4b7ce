"""The one face of the graph that transports use: prepare a request, then run it in the way its kind asks for.

Decides what runs an operation and for how long, and counts it. Refuses to know how requests come and answers go, and
what resolvers do. Cancelling the task that runs an operation, or closing its iterator, cancels its resolvers and closes
their generators: transports wrap the iterators in `contextlib.aclosing`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Collection, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import msgspec
from graphql import ExecutionResult, GraphQLSchema, OperationType
from graphql.pyutils import is_awaitable
from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.answers import Answer
from citadel_edge.graph.aside import Aside
from citadel_edge.graph.compiling import Compiled, Compiler, Compiling, Result
from citadel_edge.graph.context import Context
from citadel_edge.graph.executing import Execution
from citadel_edge.graph.incremental import Part, first_part, next_part
from citadel_edge.graph.introspection import Introspections
from citadel_edge.graph.masking import Mask, Told, only_request_errors
from citadel_edge.graph.operations import Introspects
from citadel_edge.graph.patterns import Patterns
from citadel_edge.graph.preparing import KINDS, Prepared, Preparer
from citadel_edge.graph.settings import GraphSettings
from citadel_edge.graph.wanted import Wanted
from citadel_edge.telemetry.clock import Clock

T = TypeVar("T")


@dataclass(slots=True)
class _Run:
    """One run under way: what is counted of it in the end."""

    prepared: Prepared
    context: Context
    failed: bool = False
    seconds: float = 0.0


class Graph:
    """A schema that answers requests; one loop's. Close it in the end.

    `told` translates exceptions of resolvers to what a client may be told; what it does not know is masked and logged.
    Building it blocks where there are trusted documents. Raises StartError for a schema with mistakes in its costs and
    for trusted documents that are invalid.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        settings: GraphSettings | None = None,
        told: Told = only_request_errors,
        compiler: Compiler | None = None,
    ) -> None:
        self.schema = schema
        self.settings = settings or GraphSettings()
        self.patterns = Patterns()
        self._aside = Aside()
        self._clock = clock
        self._log = log
        self._mask = Mask(told, log)
        self._preparer = Preparer(schema, self.settings, self._aside)
        self._introspections = Introspections()
        self.documents = self._preparer.documents
        self.compiling = Compiling(schema, compiler, self._aside, log, self.documents.charge)

    async def prepare(
        self, wanted: Wanted, *, allowed: Collection[OperationType] = KINDS, cost_limit: float | None = None
    ) -> Prepared:
        """Everything that can be said before anything runs. `cost_limit` is the caller's tier's. Raises Refused."""
        return await self._preparer.prepare(wanted, allowed=allowed, cost_limit=cost_limit)

    async def run(self, prepared: Prepared, context: Context) -> Answer:
        """Run a query or a mutation to its end; @defer and @stream in it are taken as off."""
        with self._counted(prepared, context) as run:
            kept = self._introspections.get(prepared.operation, prepared.variables)
            if kept is not None:
                return Answer(kept, extensions=_extensions(run))
            try:
                answer = await self._counting(await self._whole(run), run)
            except RequestError as late:
                return self._failed(late, run)
            if not answer.errors:
                self._introspections.keep(prepared.operation, prepared.variables, answer.data)
            return answer

    async def run_incrementally(self, prepared: Prepared, context: Context) -> AsyncGenerator[Part, None]:
        """Run a query or a mutation whose deferred parts come later; the last part has `hasNext` false.

        What it costs as far as is known is told with the first, and what it came to with the last: the query itself as
        it was estimated, as its parts are not counted.
        """
        with self._counted(prepared, context) as run:
            execution = self._build(run, incremental=True)
            if isinstance(execution, ExecutionResult):
                yield {**self._answer(execution, run).payload(), "hasNext": False}
                return
            try:
                async with aclosing(self._parts(execution, run)) as parts:
                    async for part in parts:
                        yield part
            except RequestError as late:
                yield {**self._failed(late, run).payload(), "hasNext": False}
            finally:
                await execution.stop_incremental()
                execution.close()

    async def subscribe(self, prepared: Prepared, context: Context) -> AsyncGenerator[Answer, None]:
        """Run a subscription: an answer for each event of its source. One with a status of 400 or more is the last."""
        with self._counted(prepared, context) as run:
            execution = self._build(run, incremental=False)
            if isinstance(execution, ExecutionResult):
                yield self._answer(execution, run)
                return
            try:
                async with aclosing(self._events(execution, run)) as answers:
                    async for answer in answers:
                        yield answer
            except RequestError as told:
                yield self._failed(told, run)
            except Exception as error:
                self._log.exception("a subscription's source failed", request_id=context.request_id)
                yield self._failed(error, run)
            finally:
                execution.close()

    def close(self) -> None:
        """Let go of what the graph holds besides memory."""
        self._aside.close()

    @contextmanager
    def _counted(self, prepared: Prepared, context: Context) -> Iterator[_Run]:
        """Count a run however it ends; one whose client left did not fail. Of a subscription its events take time."""
        run, spent = _Run(prepared, context), context.spent
        spent.price, spent.limit = prepared.cost, prepared.cost_limit
        began_s = self._clock.monotonic_s()
        try:
            yield run
        except Exception:
            run.failed = True
            raise
        finally:
            streamed = prepared.kind is OperationType.SUBSCRIPTION
            seconds = run.seconds if streamed else self._clock.monotonic_s() - began_s
            self.patterns.count(prepared.operation, cost=spent.actual, seconds=seconds, failed=run.failed)

    async def _whole(self, run: _Run) -> Result:
        compiled = self.compiling.of(run.prepared.operation, run.prepared.variables)
        if compiled is not None:
            try:
                found = compiled.run(None, run.context, run.prepared.variables)
                if found is not None:
                    return await _soon(found, self._timeout_s(run))
            except RequestError:
                raise
            except Exception:
                self._log.exception("a compiled operation failed", operation=run.prepared.name, hash=run.prepared.hash)
                self.compiling.give_up(run.prepared.operation)
                if run.prepared.kind is not OperationType.QUERY:
                    raise
        execution = self._build(run, incremental=False)
        if isinstance(execution, ExecutionResult):
            return execution
        try:
            return await _timed(execution.run(), self._timeout_s(run))
        finally:
            execution.close()

    async def _parts(self, execution: Execution, run: _Run) -> AsyncGenerator[Part, None]:
        ends_s = self._clock.monotonic_s() + self._timeout_s(run)
        result = await _timed(execution.begin(), self._timeout_s(run))
        if isinstance(result, ExecutionResult):
            yield {**self._answer(result, run).payload(), "hasNext": False}
            return
        run.failed = result.initial_result.errors is not None
        first = first_part(result.initial_result, self._mask, run.context.request_id)
        yield {**first, "extensions": _extensions(run)}
        async with aclosing(result.subsequent_results) as following:
            while (part := await _timed(anext(following, None), ends_s - self._clock.monotonic_s())) is not None:
                later = next_part(part, self._mask, run.context.request_id)
                yield later if part.has_next else {**later, "extensions": _extensions(run)}

    async def _events(self, execution: Execution, run: _Run) -> AsyncGenerator[Answer, None]:
        source = await _timed(execution.source(), self.settings.event_timeout_s)
        if isinstance(source, ExecutionResult):
            yield replace(self._answer(source, run), data=msgspec.UNSET, status=400)
            return
        compiled = self.compiling.of(run.prepared.operation, run.prepared.variables)
        async with _closing(source) as events:
            async for event in events:
                yield await self._event(event, execution, compiled, run)

    async def _event(self, event: Any, execution: Execution, compiled: Compiled | None, run: _Run) -> Answer:
        began_s = self._clock.monotonic_s()
        timeout_s = self.settings.event_timeout_s
        values = execution.executor.variable_values
        found = None if compiled is None else compiled.run(event, run.context, values)
        result = await (_timed(execution.event(event), timeout_s) if found is None else _soon(found, timeout_s))
        answer = await self._counting(result, run)
        run.seconds += self._clock.monotonic_s() - began_s
        return answer

    def _build(self, run: _Run, *, incremental: bool) -> Execution | ExecutionResult:
        execution = Execution.build(
            self.schema,
            run.prepared.operation,
            variables=run.prepared.variables,
            context=run.context,
            clock=self._clock,
            incremental=incremental,
            hide_suggestions=not self.settings.introspection,
        )
        return ExecutionResult(None, execution) if isinstance(execution, list) else execution

    async def _counting(self, result: Result, run: _Run) -> Answer:
        """The answer, with what it came to: of a subscription its dearest event so far."""
        prepared, spent = run.prepared, run.context.spent
        if result.data is not None and prepared.operation.introspects is not Introspects.ONLY:
            walk = prepared.operation.price.answered(result.data, prepared.variables)
            spent.answered = max(spent.answered or 0.0, await _in_turns(walk))
        return self._answer(result, run)

    def _answer(self, result: Result, run: _Run) -> Answer:
        """An answer; without data and with errors that have no place in the data, nothing was executed."""
        errors = result.errors or ()
        shown = self._mask.shown(errors, run.context.request_id)
        run.failed = run.failed or bool(errors)
        if result.data is None and all(error.path is None for error in errors):
            return Answer(errors=shown, status=400)
        return Answer(result.data, shown, _extensions(run))

    def _failed(self, error: Exception, run: _Run) -> Answer:
        run.failed = True
        shown, status = self._mask.whole(error, run.context.request_id)
        return Answer(errors=[shown], extensions=_extensions(run), status=status)

    def _timeout_s(self, run: _Run) -> float:
        mutation = run.prepared.kind is OperationType.MUTATION
        return self.settings.mutation_timeout_s if mutation else self.settings.query_timeout_s


def _extensions(run: _Run) -> dict[str, Any]:
    return {"cost": run.context.spent.shown()}


async def _in_turns(steps: Generator[None, None, T]) -> T:
    """What a generator returns; others run whenever it yields."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("T", done.value)
        await asyncio.sleep(0)


async def _soon(found: Result | Awaitable[Result], seconds: float) -> Result:
    return cast("Result", await _timed(found, seconds) if is_awaitable(found) else found)


async def _timed(value: Awaitable[T], seconds: float) -> T:
    """The value; raises DEADLINE_EXCEEDED when it is not there in time, having cancelled what makes it."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await value
    except TimeoutError:
        if limit.expired():
            raise RequestError(Code.DEADLINE_EXCEEDED, "the operation took too long; ask for less of it") from None
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
