"""Execution by graphql-core: in turns, so that a long list never holds the loop, and ended with its task.

graphql-core has an abort signal too; it costs two tasks for each awaited resolver. Python's own cancellation reaches
the same resolvers, and what graphql-core settles in the background is cancelled by `close`.
"""

import asyncio
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

from graphql import ExecutionResult, Executor, GraphQLError, GraphQLSchema
from graphql.execution import ExperimentalIncrementalExecutionResults, create_source_event_stream
from graphql.execution.execute import execute_subscription_event
from graphql.pyutils import AwaitableOrValue, is_awaitable

from citadel_edge.graph.begun import Begun
from citadel_edge.graph.bounds import MAX_COERCION_ERRORS
from citadel_edge.graph.operations import Operation
from citadel_edge.graph.turns import IncrementalTurns, PlainTurns, Turn
from citadel_edge.telemetry.clock import Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Execution:
    """One operation with its variables and context, ready to run. Close it, however it ends."""

    executor: Executor[Any]
    begun: Begun

    @classmethod
    def build(
        cls,
        schema: GraphQLSchema,
        operation: Operation,
        *,
        variables: Mapping[str, Any],
        context: Any,
        clock: Clock,
        incremental: bool = False,
        hide_suggestions: bool = False,
    ) -> Self | list[GraphQLError]:
        """The execution, or what is wrong with the variables. Not incremental, @defer and @stream are taken as off."""
        kind = IncrementalTurns if incremental else PlainTurns
        begun = Begun()
        built = kind.build(
            schema,
            operation.document,
            context_value=context,
            raw_variable_values=cast("dict[str, Any]", variables),
            operation_name=operation.name,
            max_coercion_errors=MAX_COERCION_ERRORS,
            is_awaitable=begun,
            hide_suggestions=hide_suggestions,
            turn=Turn(clock),
        )
        return built if isinstance(built, list) else cls(built, begun)

    async def run(self) -> ExecutionResult:
        """Run a query or a mutation that was not built incremental."""
        return cast("ExecutionResult", await self.begin())

    async def begin(self) -> ExecutionResult | ExperimentalIncrementalExecutionResults:
        """Run a query or a mutation; one that defers nothing in the end is whole."""
        return await _settled(self.executor.execute_operation())

    async def source(self) -> AsyncIterable[Any] | ExecutionResult:
        """A subscription's source of events, or why there is none."""
        return await _settled(create_source_event_stream(self.executor))

    async def event(self, payload: Any) -> ExecutionResult:
        """Run a subscription for one event of its source."""
        return await _settled(execute_subscription_event(self.executor.build_per_event_executor(payload)))

    def close(self) -> None:
        """Cancel whatever goes on in the background: siblings of a field whose error made their parent null."""
        waiting = tuple(self.executor.background_futures)
        for future in waiting:
            future.add_done_callback(self._settled)
            future.cancel()
        if not waiting:
            self._let_go()

    def _settled(self, _: asyncio.Future[Any]) -> None:
        if all(future.done() for future in self.executor.background_futures):
            self._let_go()

    def _let_go(self) -> None:
        """Open the circle of an executor and its helpers, which else waits for the collector of garbage."""
        self.begun.dispose()
        del self.executor.async_helpers

    async def stop_incremental(self) -> None:
        """Cancel deferred work and close the sources of streamed lists."""
        await self.executor.cancel_incremental_work()
        if isinstance(self.executor, IncrementalTurns):
            await self.executor.under_way.ended()


async def _settled(found: AwaitableOrValue[T]) -> T:
    return cast("T", await found if is_awaitable(found) else found)
