"""One operation run by graphql-core and compiled, on data from one recipe; what came out, in comparable form."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    experimental_execute_incrementally,
    parse,
)

from citadel_edge.graph.compiled.operation import Compiled, compile_operation
from citadel_edge.graph.compiled.pacing import Pace
from graph_asking import Asking
from graph_data import Data, Make

UNHURRIED = Pace(lambda: 0.0)
"""A clock that stands still: nothing ever pauses."""
Answer = tuple[Any, list[GraphQLError]]


@dataclass(frozen=True)
class Outcome:
    """Bytes of an answer, or what was raised; what resolvers wrote down; whether it had to be awaited."""

    body: bytes | str
    log: list[Any]
    awaited: bool


@dataclass(frozen=True)
class Case:
    """A document with data for it."""

    schema: GraphQLSchema
    document: DocumentNode
    make: Make

    @property
    def operation(self) -> OperationDefinitionNode:
        return next(one for one in self.document.definitions if isinstance(one, OperationDefinitionNode))

    def compiled(self, pace: Pace = UNHURRIED) -> Compiled:
        compiled = compile_operation(self.schema, self.document, self.operation, pace=pace)
        assert compiled is not None
        return compiled

    async def by_graphql_core(self, given: dict[str, Any], cancel_after: int | None = None) -> Outcome:
        return await outcome(lambda log: by_graphql_core(self, self.make(), log, given), cancel_after)

    async def by_compiled(self, compiled: Compiled, given: dict[str, Any], cancel_after: int | None = None) -> Outcome:
        """The compiled operation's; graphql-core's where that leaves the run to it, having touched nothing."""

        def run(log: list[Any]) -> Any:
            root = self.make()
            found = compiled.run(root, log, given)
            return by_graphql_core(self, root, log, given) if found is None else found

        return await outcome(run, cancel_after)


def made_up(schema: GraphQLSchema, rng: Random, *, trouble: int, slow: int) -> Case:
    """A case made up at random: `trouble` and `slow` are shares of oddities and of what must be awaited, in percent."""
    document = parse(Asking(schema, rng, trouble).document())
    return Case(schema, document, Data(schema, document, rng, trouble, slow).root())


def by_graphql_core(case: Case, root: Any, log: list[Any], given: dict[str, Any]) -> Answer | Awaitable[Answer]:
    """graphql-core's answer; of a subscription, that to one event."""
    if case.operation.operation is OperationType.SUBSCRIPTION:
        executor = Executor.build(case.schema, case.document, root, log, given)
        if isinstance(executor, list):
            return None, executor
        result: Any = executor.execute_operation(False)
    else:
        result = experimental_execute_incrementally(case.schema, case.document, root, log, given)

    async def later() -> Answer:
        return answer(await result)

    return answer(result) if isinstance(result, ExecutionResult) else later()


def answer(result: ExecutionResult) -> Answer:
    return result.data, result.errors or []


async def outcome(run: Callable[[list[Any]], Any], cancel_after: int | None) -> Outcome:
    """What a run came to, awaited or cancelled after so many turns of the loop; all it has left behind has ended."""
    log: list[Any] = []
    awaited = False
    try:
        result = run(log)
        awaited = asyncio.iscoroutine(result)
        if awaited:
            result = await (result if cancel_after is None else _cancelled(result, cancel_after, log))
        body: bytes | str = encoded(*result)
    except (Exception, asyncio.CancelledError) as error:
        body = repr(error)
    await _settled()
    return Outcome(body, log, awaited)


async def _cancelled(result: Any, turns: int, log: list[Any]) -> Any:
    task = asyncio.get_running_loop().create_task(result)
    for _ in range(turns):
        await asyncio.sleep(0)
    log.append(("done", task.done()))
    task.cancel()
    return await task


async def _settled() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.gather(*others, return_exceptions=True)


def encoded(data: Any, errors: list[GraphQLError]) -> bytes:
    """As it goes over the wire, but for addresses of objects."""
    body = {"data": data, "errors": [error.formatted for error in errors]}
    return re.sub(rb"0x[0-9a-f]+", b"0x", msgspec.json.encode(body, enc_hook=lambda odd: f"<{type(odd).__name__}>"))
