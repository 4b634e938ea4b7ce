"""The client leaves, at any await: the engine is told at once, load, row and sockets come out right."""

import asyncio
import random

import pytest
from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.pipeline import Pace
from citadel_edge.config.shape import Engine, HedgeConfig
from completions.bench import Bench, Client, OpenBench, model
from completions.interrupting import interrupted
from completions.scripted import (
    SPOKEN,
    Answer,
    chunk,
    drop,
    event,
    freeze,
    in_turn,
    replies,
    reset,
    says,
    says_then,
    stall,
)

SOON_S = 0.1 * 5  # a tenth of a second, on a machine with five times the work


async def cancel_at(bench: Bench, client: Client, at: int, *, stream: bool) -> bool:
    """Run a request and cancel it at one of its suspensions. Whether it was cancelled."""
    loop = asyncio.get_running_loop()
    task: asyncio.Task[int] | None = None

    async def run() -> int:
        call = bench.pipeline.run(bench.call({"stream": stream}), client)
        return await interrupted(call, at=at, interrupt=lambda: loop.call_soon(task.cancel))  # type: ignore[union-attr]

    task = loop.create_task(run())
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def open_connections(bench: Bench) -> int:
    """Connections to upstreams that a call holds."""
    return len(bench.client._session.connector._acquired)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("stream", "answers"),
    [
        (False, (replies(),)),
        (True, (says(*SPOKEN, pause_s=0.01),)),
        (True, (drop, says(*SPOKEN))),
        (False, (replies(500), replies())),
        (True, (says(chunk("a"), chunk("b")),)),
    ],
    ids=["whole", "stream", "stream retried", "whole retried", "truncated"],
)
async def test_cancelled_at_any_await_everything_comes_out_right(
    open_bench: OpenBench,
    *,
    stream: bool,
    answers: tuple[Answer, ...],
) -> None:
    bench = await open_bench(*answers, pace=Pace(begin_within_s=0.005, heartbeat_s=0.005))
    at, cancelled = 0, True
    while cancelled:
        at += 1
        client = Client()
        bench.ledger.rows.clear()
        bench.reports.clear()
        for row in bench.fleet.table.rows.values():
            row.breaker.reset("test")
        cancelled = await cancel_at(bench, client, at, stream=stream)
        assert bench.in_flight() == 0
        assert len(bench.row.event_id.hex) == 32
        assert open_connections(bench) == 0
        assert client.finished <= 1
        outcome = bench.row.outcome
        assert outcome is bench.reports[0].outcome
        if client.finished:
            assert outcome is not Outcome.CANCELLED
    assert at > 4


async def hedging(open_bench: OpenBench) -> Bench:
    bench = await open_bench(freeze, freeze, hedge=HedgeConfig(enabled=True, share=1.0))
    for _ in range(20):
        bench.pipeline._answers._hedges._delays.observe("m", 0.02, stream=True)
    return bench


async def falling_back(open_bench: OpenBench) -> Bench:
    return await open_bench(freeze, freeze, models=(model("m", "u0", fallbacks=("n",)), model("n", "u1")))


async def going_on(open_bench: OpenBench) -> Bench:
    return await open_bench(freeze, freeze, engine=Engine.VLLM)


SLOW = says(*SPOKEN, pause_s=0.01)
WAYS = {
    "hedged": (hedging, (freeze, SLOW)),
    "fallen back": (falling_back, (replies(500), SLOW)),
    "going on": (going_on, (says_then(chunk("a"), then=reset), SLOW)),
}


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_at_any_await_of_a_longer_way(open_bench: OpenBench, way: str) -> None:
    opened, answers = WAYS[way]
    bench = await opened(open_bench)
    at, cancelled = 0, True
    while cancelled:
        at += 1
        await asyncio.sleep(0.01)  # what was left on its way has arrived
        bench.in_order(*answers)
        bench.ledger.rows.clear()
        bench.reports.clear()
        for row in bench.fleet.table.rows.values():
            row.breaker.reset("test")
        client = Client()
        cancelled = await cancel_at(bench, client, at, stream=True)
        assert (bench.in_flight(), bench.waiting(), open_connections(bench)) == (0, 0, 0)
        assert bench.row.outcome is bench.reports[0].outcome
        assert client.finished <= 1
    assert bench.row.outcome is Outcome.DONE
    assert bench.row.attempts == 2
    assert at > 6


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelled_at_any_await_of_a_wait(open_bench: OpenBench, *, stream: bool) -> None:
    late = says_then(*SPOKEN, then=lambda _: asyncio.sleep(0)) if stream else replies()
    bench = await open_bench(freeze, slots=1, capacity_wait_s=20.0)
    loop = asyncio.get_running_loop()
    at, cancelled = 0, True
    while cancelled:
        at += 1
        await asyncio.sleep(0.01)  # what was left on its way has arrived
        gate = asyncio.Event()

        async def first(request: web.Request, gate: asyncio.Event = gate) -> web.StreamResponse:
            await gate.wait()
            return await replies()(request)

        bench.in_order(first, late)
        bench.ledger.rows.clear()
        ahead = loop.create_task(bench.whole())
        await bench.upstreams[0].arrived.wait()
        loop.call_later(0.03, gate.set)
        cancelled = await cancel_at(bench, Client(), at, stream=stream)
        await ahead
        assert (bench.in_flight(), bench.waiting(), open_connections(bench)) == (0, 0, 0)
        assert len(bench.ledger.rows) == 2
    assert [row.outcome for row in bench.ledger.rows] == [Outcome.DONE] * 2
    assert at > 4


async def heard_of_the_end(bench: Bench) -> float:
    """Seconds until the engine saw its client leave."""
    start = asyncio.get_running_loop().time()
    await asyncio.wait_for(bench.upstreams[0].cut.wait(), 10)
    return asyncio.get_running_loop().time() - start


@pytest.mark.parametrize(
    ("stream", "answer", "tokens_out"),
    [
        (False, freeze, 0),
        (True, freeze, 0),
        (True, says_then(then=stall), 0),
        (True, says_then(chunk("a"), chunk("b"), then=stall), 2),
        (True, says(*[chunk("x")] * 10_000, pause_s=0.01), None),
    ],
    ids=["whole", "before the headers", "before the first token", "after two tokens", "in full flow"],
)
async def test_the_engine_hears_of_it_within_a_tenth_of_a_second(
    open_bench: OpenBench,
    *,
    stream: bool,
    answer: Answer,
    tokens_out: int | None,
) -> None:
    bench = await open_bench(answer)
    client = Client()
    task = asyncio.get_running_loop().create_task(bench.pipeline.run(bench.call({"stream": stream}), client))
    await bench.upstreams[0].arrived.wait()
    if tokens_out != 0:
        await client.wrote.wait()
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await heard_of_the_end(bench) < SOON_S
    assert bench.in_flight() == 0
    row = bench.row
    assert (row.outcome, row.attempts, row.upstream) == (Outcome.CANCELLED, 1, "u0")
    assert row.tokens_in > 0, "the engine read the prompt"
    assert row.tokens_out == tokens_out or (tokens_out is None and row.tokens_out > 0)
    assert bench.fleet.table.rows["u0"].breaker.failures == 0
    assert next(bench.pipeline.decisions.newest_first()).attempts[0].outcome == "cancelled"


async def test_a_client_that_breaks_on_a_write_is_a_client_that_left(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*[chunk("x")] * 10_000, pause_s=0.01))
    client = Client(gone=True)
    with pytest.raises(ConnectionError):
        await bench.pipeline.run(bench.call({"stream": True}), client)
    assert await heard_of_the_end(bench) < SOON_S
    assert bench.row.outcome is Outcome.CANCELLED


async def test_a_client_that_breaks_on_a_heartbeat_is_a_client_that_left(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, pace=Pace(begin_within_s=0.1, heartbeat_s=0.1))
    client = Client(gone=True)
    with pytest.raises(ConnectionError):
        await bench.pipeline.run(bench.call({"stream": True}), client)
    assert await heard_of_the_end(bench) < SOON_S
    assert bench.row.outcome is Outcome.CANCELLED


async def test_a_client_that_leaves_the_second_call_owes_nothing_for_the_first(open_bench: OpenBench) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    held_back = event({"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": usage})
    bench = await open_bench(says(held_back + event({"error": {"message": "no", "code": 500}})), freeze)
    task = asyncio.get_running_loop().create_task(bench.stream())
    await asyncio.wait_for(bench.upstreams[1].arrived.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = bench.row
    assert (row.outcome, row.attempts, row.upstream) == (Outcome.CANCELLED, 2, "u1")
    assert (row.tokens_out, row.ttft_ms) == (0, None)
    assert row.tokens_in < 100, "the prompt's estimate, not what the first engine counted"


async def test_a_client_that_leaves_after_the_terminal_had_its_answer(open_bench: OpenBench) -> None:
    bench = await open_bench(says_then(*SPOKEN, then=stall))
    client = Client(gate=asyncio.Event())
    task = asyncio.get_running_loop().create_task(bench.pipeline.run(bench.call({"stream": True}), client))
    while b"[DONE]" not in client.text:
        assert client.gate is not None
        client.gate.set()
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.row.outcome is Outcome.DONE
    assert await heard_of_the_end(bench) < SOON_S


async def test_a_client_that_stops_reading_holds_no_more_than_its_deadline(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*[chunk("x")] * 10_000, pause_s=0.001))
    client = Client(gate=asyncio.Event())
    task = asyncio.get_running_loop().create_task(
        bench.pipeline.run(bench.call({"stream": True}, deadline_s=0.5), client)
    )
    assert await asyncio.wait_for(heard_of_the_end(bench), 20) < 20
    assert bench.in_flight() == 0
    assert bench.row.outcome is Outcome.TRUNCATED
    task.cancel()
    with pytest.raises((asyncio.CancelledError, ConnectionError)):
        await task


async def test_a_hundred_that_leave_at_any_time_leave_nothing(open_bench: OpenBench) -> None:
    bench = await open_bench(*[says(*SPOKEN, pause_s=0.02)] * 3, in_turn(says(*SPOKEN)))
    when = random.Random(7)
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(bench.stream() if n % 2 else bench.whole()) for n in range(100)]
    for task in tasks:
        loop.call_later(when.random() * 0.5, task.cancel)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(result, asyncio.CancelledError) for result in results)
    assert bench.in_flight() == 0
    assert len(bench.ledger.rows) == 100
    assert open_connections(bench) == 0
    assert [row.in_flight for row in bench.fleet.table.rows.values()] == [0, 0, 0, 0]
