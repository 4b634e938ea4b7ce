"""A stream is ended at any await of its making, or its starter leaves at any of its own: nothing is left of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.accounts.news import News, Subject
from citadel_edge.completions.generation import Generation
from citadel_edge.completions.pipeline import Pace
from citadel_edge.completions.terminals import Why
from citadel_edge.streams import commit
from citadel_edge.streams.values import State
from completions.bench import OpenBench
from completions.interrupting import interrupted
from completions.scripted import SPOKEN, chunk, says, says_then, stall
from completions.studio import CANCEL, FINISH, Studio, read, studio
from completions.test_cancellation import open_connections

SLOW = says(*SPOKEN, pause_s=0.01)
QUIET_S = 1.0
ENDLESS = says_then(chunk("a"), chunk("b"), then=stall)


class Interrupting(asyncio.TaskGroup):
    """Calls `interrupt` when what makes a stream has been suspended `at` times."""

    at = 0
    interrupt: Callable[[], object] = staticmethod(lambda: None)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        made = self._made(coro) if name == "generation" else coro
        return super().create_task(made, name=name, context=context)

    async def _made(self, coro: Coroutine[Any, Any, Any]) -> None:
        loop = asyncio.get_running_loop()
        await interrupted(coro, at=self.at, interrupt=lambda: loop.call_soon(self.interrupt))


def revoke(made: Studio, _generation: Generation) -> None:
    made.presence.heed(News(Subject.KEY, "key_1", ended=True))


ENDS: dict[str, Callable[[Studio, Generation], object]] = {
    "stopped": lambda _, generation: generation.live.ask_to_stop(),
    "revoked": revoke,
    "drained": lambda made, _: made.presence.end_all(),
    "forsaken": lambda _, generation: generation.end(Why.LEFT),
    "taken": lambda _, generation: generation.live.depose(),
    "handed on": lambda _, generation: generation.end(Why.HANDED_ON),
}


@pytest.mark.parametrize("how", ENDS)
async def test_ended_at_any_await_nothing_is_left(
    open_bench: OpenBench, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "LET_GO_S", 0.1)  # there is no log here that would hear of it
    group = Interrupting()
    async with studio(open_bench, SLOW, group=group, pace=Pace(begin_within_s=0.005, heartbeat_s=0.005)) as made:
        rows, done = made.bench.ledger.rows, False
        while not done:
            group.at += 1
            rows.clear()
            async with made.start(policy=FINISH) as produced:
                generation = made.production.running[produced.id]
                group.interrupt = lambda generation=generation: ENDS[how](made, generation)
                await made.idle()
            live = generation.live
            assert made.at_rest()
            assert open_connections(made.bench) == 0
            done = live.terminal is not None and live.terminal.outcome is State.DONE
            if live.terminal is None:  # another's; one that was recorded just before is recorded once all the same
                assert [row.outcome for row in rows] in ([], [Outcome.DONE])
            else:
                assert len(rows) == 1
                assert rows[0].outcome is Outcome.DONE or live.terminal.outcome is State.CANCELLED
        assert group.at > 4


@pytest.mark.parametrize("answer", [SLOW, ENDLESS], ids=["finished", "endless"])
async def test_whose_starter_leaves_at_any_await_ends_without_a_trace(open_bench: OpenBench, answer: Any) -> None:
    loop = asyncio.get_running_loop()
    async with studio(open_bench, answer) as made:
        at, cancelled = 0, True
        while cancelled:
            at += 1
            made.bench.ledger.rows.clear()
            cancelled = await leave_at(made, at, loop)
            await made.idle(2)
            assert made.at_rest()
            assert open_connections(made.bench) == 0
            assert len(made.bench.ledger.rows) == 1
        assert at > 2  # the more of the answer comes at once, the fewer


async def leave_at(made: Studio, at: int, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it was left, and not over or quiet before."""
    task: asyncio.Task[int] | None = None

    async def handle() -> None:
        async with made.budget.admit() as seat, made.start(policy=CANCEL, seat=seat) as produced:
            await produced.begun()
            await read(produced.reader)

    async def run() -> int:
        return await interrupted(handle(), at=at, interrupt=lambda: loop.call_soon(task.cancel))  # type: ignore[union-attr]

    task = loop.create_task(run())
    try:
        async with asyncio.timeout(QUIET_S):
            await task
    except asyncio.CancelledError:
        return True
    except TimeoutError:
        return False
    return False
