"""An operation laid out, ready to be run: its root fields together, or one after the other for a mutation."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import GraphQLError
from graphql.execution.values import VariableValues

from citadel_edge.graph.compiled.pacing import Pace, Slices, Steps
from citadel_edge.graph.compiled.plan import Plan
from citadel_edge.graph.compiled.run import Run
from citadel_edge.graph.compiled.selections import Selection


class Result(NamedTuple):
    """What a run came to."""

    data: dict[str, Any] | None
    errors: list[GraphQLError]


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of an operation, each run to its end before the next begins.

    `attributes` are for the runs; `plan` can write the functions ahead that would be written when they are needed.
    """

    attributes: Mapping[str, Any]
    parts: Sequence[Selection]
    pace: Pace
    plan: Plan

    def run(self, root: Any, context: Any, variables: VariableValues) -> Result | Awaitable[Result]:
        """The answer, or a coroutine of it."""
        run = Run(self.attributes, Slices(self.pace), root=root, context=context, variables=variables)
        try:
            data = _started(run, self.parts)
        except GraphQLError as error:
            return _ended(run, None, error)
        return _ended(run, data) if type(data) is dict else _awaited(run, data)


def _started(run: Run, parts: Sequence[Selection]) -> Any:
    """The data, or a coroutine of it as soon as something must be awaited or the slice is over."""
    data: dict[str, Any] = {}
    for n, part in enumerate(parts):
        steps = _steps(run, part)
        try:
            next(steps)
        except StopIteration as end:
            done = end.value
        else:
            return _rest(run, data, run.slices.drive(steps, paused=True), parts[n + 1 :])
        if type(done) is not dict:
            return _rest(run, data, done, parts[n + 1 :])
        data = data | done if data else done
    return data


async def _rest(run: Run, data: dict[str, Any], first: Awaitable[Any], parts: Sequence[Selection]) -> dict[str, Any]:
    data |= await _whole(await first)
    for part in parts:
        data |= await _whole(await run.slices.drive(_steps(run, part)))
    return data


async def _whole(done: Any) -> dict[str, Any]:
    answer: dict[str, Any] = done if type(done) is dict else await done
    return answer


def _steps(run: Run, part: Selection) -> Steps:
    source = run.root_value
    function = part.function_for(type(source))
    if part.sliced:
        return (yield from function(source, None, None, run))
    return function(source, None, None, run)


async def _awaited(run: Run, data: Awaitable[dict[str, Any]]) -> Result:
    try:
        return _ended(run, await data)
    except GraphQLError as error:
        return _ended(run, None, error)


def _ended(run: Run, data: dict[str, Any] | None, error: GraphQLError | None = None) -> Result:
    if error is not None:
        run.collected_errors.add(error, None)
    run.release()
    return Result(data, run.collected_errors.errors)
