"""A replica's probes fail while it owes answers: those that show no life are moved, the others left alone."""

import asyncio
import socket

import pytest
from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.fleet.table import Row
from citadel_edge.telemetry.clock import Clock
from completions.bench import Bench, Client, OpenBench
from completions.scripted import DONE, SPOKEN, Answer, chunk, freeze, replies, says, says_then, stall, usage_chunk

REST = says(chunk("b"), chunk(finish="stop"), usage_chunk(8, 1), DONE)


def die(bench: Bench, upstream: str, *, since_s: float = 2.0) -> Row:
    """Its probes have failed for so long."""
    row = bench.fleet.table.rows[upstream]
    bench.fleet.probe_failed(row, "no answer", at_once=True, asked=Clock().monotonic_s() - since_s)
    return row


async def called(bench: Bench) -> str:
    """The replica that the first call went to."""
    async with asyncio.timeout(10):
        while True:
            for upstream in bench.upstreams:
                if upstream.arrived.is_set():
                    return upstream.id
            await asyncio.sleep(0.005)


def headers_only(content_type: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        await stall(request)
        return response

    return answer


@pytest.mark.parametrize(
    ("stream", "silent"),
    [
        (False, freeze),
        (False, headers_only("application/json")),
        (True, freeze),
        (True, headers_only("text/event-stream")),
    ],
    ids=["whole, no status", "whole, no body", "stream, no status", "stream, no token"],
)
async def test_a_call_without_a_byte_is_moved_at_once(open_bench: OpenBench, *, stream: bool, silent: Answer) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(silent, says(*SPOKEN) if stream else replies())
    task = asyncio.get_running_loop().create_task(bench.whole({"stream": stream}))
    dead = await called(bench)
    await asyncio.sleep(0.1)
    row = die(bench, dead)
    client = await asyncio.wait_for(task, 10)
    assert client.headers["X-Citadel-Upstream"] != dead
    assert bench.marks == [("first", "lost"), ("retry", "done")]
    assert (row.breaker.failures, row.in_flight) == (0, 0), "its probes have judged it"
    assert (bench.row.outcome, bench.row.attempts) == (Outcome.DONE, 2)
    await asyncio.wait_for(next(one for one in bench.upstreams if one.id == dead).cut.wait(), 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_is_still_connecting_is_moved(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await open_bench(replies(), replies(), connect_s=20.0)
    bench.in_order(says(*SPOKEN) if stream else replies())
    backlog = []
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # so that the kernel drops further SYNs
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            backlog.append(filler)
        row = bench.fleet.table.rows["u0"]
        row.url = "http://{}:{}".format(*full.getsockname())
        bench.fleet.table.rows["u1"].in_flight += 10  # so that it is chosen second
        task = asyncio.get_running_loop().create_task(bench.whole({"stream": stream}))
        while not row.in_flight:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        bench.fleet.table.rows["u1"].in_flight -= 10
        die(bench, "u0")
        client = await asyncio.wait_for(task, 10)
        for filler in backlog:
            filler.close()
    assert client.headers["X-Citadel-Upstream"] == "u1"
    assert bench.marks == [("first", "lost"), ("retry", "done")]


async def test_an_answer_that_fell_silent_goes_on_elsewhere(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(says_then(chunk("a"), then=stall), REST)
    client = Client()
    task = asyncio.get_running_loop().create_task(bench.pipeline.run(bench.call({"stream": True}), client))
    dead = await called(bench)
    await asyncio.wait_for(client.wrote.wait(), 10)
    for ticket in bench.fleet.table.rows[dead].calls:
        ticket.last_byte_at -= 10.0
    row = die(bench, dead)
    await asyncio.wait_for(task, 10)
    assert [one["choices"][0]["delta"].get("content") for one in client.events[:2]] == ["a", "b"]
    assert client.events[-1] == "[DONE]"
    assert bench.marks == [("first", "lost"), ("continue", "done")]
    assert row.breaker.failures == 0
    assert bench.row.tokens_out == 2


async def test_an_answer_that_still_shows_bytes_is_left_alone(open_bench: OpenBench) -> None:
    pieces = [chunk(str(n)) for n in range(10)]
    bench = await open_bench(freeze, freeze)
    bench.in_order(says(*pieces, chunk(finish="stop"), usage_chunk(7, 10), DONE, pause_s=0.05), freeze)
    client = Client()
    task = asyncio.get_running_loop().create_task(bench.pipeline.run(bench.call({"stream": True}), client))
    dead = await called(bench)
    await asyncio.wait_for(client.wrote.wait(), 10)
    for _ in range(3):
        die(bench, dead)
        await asyncio.sleep(0.05)
    await asyncio.wait_for(task, 10)
    assert client.events[-1] == "[DONE]"
    assert bench.marks == [("first", "done")]


async def test_one_failed_probe_moves_nobody(open_bench: OpenBench) -> None:
    gate = asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await replies()(request)

    bench = await open_bench(late, late)
    task = asyncio.get_running_loop().create_task(bench.whole())
    row = bench.fleet.table.rows[await called(bench)]
    bench.fleet.probe_failed(row, "slow", at_once=False, asked=Clock().monotonic_s() - 5.0)
    await asyncio.sleep(0.1)
    assert not task.done()
    gate.set()
    await task
    assert bench.marks == [("first", "done")]


async def test_all_calls_of_a_dead_replica_are_moved_together(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, replies())
    bench.fleet.table.rows["u1"].in_flight += 100
    tasks = [asyncio.get_running_loop().create_task(bench.whole()) for _ in range(20)]
    async with asyncio.timeout(10):
        while len(bench.upstreams[0].seen) < 20:
            await asyncio.sleep(0.005)
    bench.fleet.table.rows["u1"].in_flight -= 100
    die(bench, "u0")
    clients = await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert {client.headers["X-Citadel-Upstream"] for client in clients} == {"u1"}
    assert {row.outcome for row in bench.ledger.rows} == {Outcome.DONE}


async def test_a_call_stays_where_nobody_else_serves_its_model(open_bench: OpenBench) -> None:
    gate = asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await replies()(request)

    bench = await open_bench(late)
    task = asyncio.get_running_loop().create_task(bench.whole())
    die(bench, await called(bench))
    await asyncio.sleep(0.1)
    gate.set()
    assert (await asyncio.wait_for(task, 10)).status == 200
    assert bench.marks == [("first", "done")]
