"""Executors that complete a long list in turns of 2 ms, and give the loop to others in between.

A list that is done within its turn costs a glance at the clock for each item and stays synchronous. The parts of one
operation wait for each other: however many lists are under way, they have one turn together.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import Executor, GraphQLOutputType, GraphQLResolveInfo
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import collect_iterator_awaitables
from graphql.execution.incremental.incremental_executor import IncrementalExecutor
from graphql.execution.incremental.work_queue import WorkResult
from graphql.pyutils import AwaitableOrValue, Path, gather_with_cancel

from citadel_edge.telemetry.clock import Clock

TURN_S: Final = 0.002
DEAF_S: Final = 1.0


class Turn:
    """The time one operation may hold the loop."""

    __slots__ = ("_clock", "_ends_s", "lock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lock = asyncio.Lock()
        self.begin()

    def begin(self) -> None:
        """A new turn, from now."""
        self._ends_s = self._clock.monotonic_s() + TURN_S

    def over(self) -> bool:
        """Whether it is time to let others have the loop."""
        return self._clock.monotonic_s() >= self._ends_s


@dataclass(slots=True)
class _List:
    """A list under completion: what is done, and which of it must still be awaited."""

    executor: Executor[Any]
    turn: Turn
    item_type: GraphQLOutputType
    nodes: FieldDetailsList
    info: GraphQLResolveInfo[Any]
    path: Path
    position: Any
    items: Iterator[Any]
    done: list[Any] = field(default_factory=list)
    awaited: list[int] = field(default_factory=list)

    def go_on(self) -> bool:
        """Complete items until the list or the turn ends; whether it was the list."""
        try:
            for item in self.items:
                self._complete(item)
                if self.turn.over():
                    return False
        except Exception:
            self.abandon()
            raise
        return True

    def _complete(self, item: Any) -> None:
        index = len(self.done)
        path = self.path.add_key(index, None)
        executor = self.executor
        if executor.is_awaitable(item):
            self.done.append(
                executor.complete_awaitable_list_item_value(
                    item, self.item_type, self.nodes, self.info, path, self.position
                )
            )
            self.awaited.append(index)
        elif executor.complete_list_item_value(
            item, self.done, self.item_type, self.nodes, self.info, path, self.position
        ):
            self.awaited.append(index)

    async def finish(self, *, complete: bool) -> list[Any]:
        """Await what is left."""
        if not complete:
            await self._take_turns()
        if len(self.awaited) == 1:
            self.done[self.awaited[0]] = await self.done[self.awaited[0]]
        elif self.awaited:
            results = await gather_with_cancel(*(self.done[index] for index in self.awaited))
            for index, result in zip(self.awaited, results, strict=True):
                self.done[index] = result
        return self.done

    async def _take_turns(self) -> None:
        try:
            async with self.turn.lock:
                while True:
                    await asyncio.sleep(0)
                    self.turn.begin()
                    if self.go_on():
                        return
        except asyncio.CancelledError:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Have what was begun settled in the background: it may not be left unawaited."""
        begun = [self.done[index] for index in self.awaited]
        begun += collect_iterator_awaitables(self.items, self.executor.is_awaitable)
        self.awaited.clear()
        if begun:
            self.executor.settle_in_background(begun)


class _InTurns(Executor[Any]):
    """What both executors share."""

    def __init__(self, *args: Any, turn: Turn, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turn = turn

    def complete_iterable_value(  # noqa: PLR0917 - graphql-core's signature
        self,
        item_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        items: Iterable[Any],
        position_context: Any,
    ) -> AwaitableOrValue[list[Any]]:
        """Complete a list, the rest of it later when it takes long. A streamed one goes its own way."""
        if self.get_stream_usage(field_details_list, path):
            return super().complete_iterable_value(item_type, field_details_list, info, path, items, position_context)
        found = _List(self, self.turn, item_type, field_details_list, info, path, position_context, iter(items))
        complete = found.go_on()
        return found.done if complete and not found.awaited else found.finish(complete=complete)

    def complete_list_item_value(  # noqa: PLR0917 - graphql-core's signature
        self,
        item: Any,
        complete_results: list[Any],
        item_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        item_path: Path,
        position_context: Any,
    ) -> bool:
        """Complete an item; says whether it must be awaited. What must be is noticed."""
        awaited = super().complete_list_item_value(
            item, complete_results, item_type, field_details_list, info, item_path, position_context
        )
        return awaited and self.is_awaitable(complete_results[-1])

    def complete_awaitable_list_item_value(self, *args: Any) -> Coroutine[Any, Any, Any]:
        """Complete an item that must be awaited first; it is noticed."""
        completed = super().complete_awaitable_list_item_value(*args)
        self.is_awaitable(completed)
        return completed


class PlainTurns(_InTurns):
    """Executes without incremental delivery: @defer and @stream are taken as off."""


class UnderWay:
    """How many deferred parts have begun and not ended."""

    __slots__ = ("_count", "_none")

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    async def follow(self, part: Awaitable[Any]) -> Any:
        """Await a part, and count it meanwhile."""
        self._count += 1
        self._none.clear()
        try:
            return await part
        finally:
            self._count -= 1
            if not self._count:
                self._none.set()

    async def ended(self) -> None:
        """Wait for those that have begun, having cancelled them; one that does not listen is not waited for long."""
        try:
            async with asyncio.timeout(DEAF_S):
                await self._none.wait()
        except TimeoutError:
            return


class IncrementalTurns(_InTurns, IncrementalExecutor):
    """Executes with incremental delivery."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.under_way = UnderWay()

    def execute_execution_group(self, *args: Any) -> AwaitableOrValue[WorkResult]:
        """Execute a deferred part; one that must be awaited is followed to its end."""
        part = super().execute_execution_group(*args)
        return self.under_way.follow(part) if self.is_awaitable(part) else part
