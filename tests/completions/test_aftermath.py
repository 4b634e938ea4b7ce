"""An engine whose client has gone is heard out: to its last word, for a moment, or longer if the loop was held up."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from citadel_edge.completions import aftermath
from citadel_edge.completions.aftermath import CHANCES, HEARD_OUT_S, Aftermath


class Answer:
    """What is left of an engine's answer: parts that are `fed`, until it is fed nothing."""

    finished = False

    def __init__(self):
        self.parts = asyncio.Queue()
        self.hearings = 0

    def hang_up(self):
        return True

    async def chunks(self):
        self.hearings += 1
        while part := await self.parts.get():
            yield part


@pytest.fixture
async def left():
    """A request whose client has gone, what was counted of it, and an event for its end."""
    answer, heard, over = Answer(), [], asyncio.Event()
    trial = SimpleNamespace(answer=answer, relay=SimpleNamespace(over=False, feed=heard.append))
    job = SimpleNamespace(report=None, trial=trial, trials=[trial])
    async with asyncio.TaskGroup() as group:
        Aftermath(SimpleNamespace(close=lambda _: None), lambda _: over.set(), group).close(job)
        yield answer, heard, over


async def test_what_it_had_sent_is_counted_until_its_end(left):
    answer, heard, over = left
    for part in (b"a", b"b", b""):
        answer.parts.put_nowait(part)
    await asyncio.wait_for(over.wait(), 5)
    assert (heard, answer.hearings) == ([b"a", b"b"], 1)


async def test_one_that_says_nothing_more_and_does_not_end_has_a_moment(left, monkeypatch):
    monkeypatch.setattr(aftermath, "LATE_S", 1.0)  # a full machine is no loop that was held up
    answer, heard, over = left
    await asyncio.wait_for(over.wait(), 5)
    assert (heard, answer.hearings) == ([], 1)


async def test_a_loop_that_was_held_up_reads_what_came_meanwhile(left):
    answer, heard, over = left
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    loop.call_later(HEARD_OUT_S + 0.01, answer.parts.put_nowait, b"a")
    loop.call_later(HEARD_OUT_S + 0.02, answer.parts.put_nowait, b"")
    loop.call_soon(time.sleep, 2 * HEARD_OUT_S)
    await asyncio.wait_for(over.wait(), 5)
    assert (heard, answer.hearings) == ([b"a"], 2)


async def test_a_loop_that_is_always_held_up_comes_to_an_end(left):
    answer, _, over = left
    while not over.is_set():
        time.sleep(2 * HEARD_OUT_S)  # noqa: ASYNC251 - on purpose
        await asyncio.sleep(0)
    assert answer.hearings <= CHANCES
