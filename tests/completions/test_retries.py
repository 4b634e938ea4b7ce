"""Failures before anything reached the client, and what becomes of the replicas."""

import asyncio
import socket
from typing import Any

import pytest
from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.decisions import Decisions
from citadel_edge.config.shape import Engine, StrategyName
from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.telemetry.hub import Topic
from completions.bench import Bench, OpenBench
from completions.scripted import SPOKEN, Answer, drop, freeze, in_turn, replies, says


def unplug(bench: Bench, upstream: str) -> None:
    """Point a replica at a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bench.fleet.table.rows[upstream].url = "http://{}:{}".format(*free.getsockname())


@pytest.mark.parametrize(
    "bad",
    [
        drop,
        replies(500),
        replies(502),
        replies(401),
        replies(404, {"error": "no such model"}),
        replies(501),
        replies(429, headers={"Retry-After": "3"}),
        replies(503),
        replies(302, headers={"Location": "http://127.0.0.1:1/"}),
        replies(raw=b"<html>"),
        replies(raw=b""),
        replies(raw=b'{"choices": ['),
        replies(body={"error": {"message": "no", "code": 500}}),
    ],
)
async def test_a_failed_call_is_made_again_elsewhere(open_bench: OpenBench, bad: Answer) -> None:
    bench = await open_bench(bad, replies())
    client = await bench.whole()
    assert (client.status, client.headers["X-Citadel-Upstream"]) == (200, "u1")
    assert client.headers["X-Citadel-Attempts"] == "2"
    assert (bench.row.outcome, bench.row.attempts, bench.row.tokens_out) == (Outcome.DONE, 2, 2)
    decision = next(bench.pipeline.decisions.newest_first())
    assert decision.chosen == "u0"
    assert [attempt.upstream for attempt in decision.attempts] == ["u0", "u1"]
    assert decision.attempts[0].outcome != "done"


async def test_a_refused_connection_makes_the_replica_suspect_at_once(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(), replies())
    unplug(bench, "u0")
    with bench.hub.subscribe([Topic.HEALTH]) as told:
        await bench.whole()
        message = await anext(told)
    assert message.payload["upstream"] == "u0"  # type: ignore[union-attr]
    assert message.payload["health"] == "unhealthy"  # type: ignore[union-attr]
    client = await bench.whole()
    assert client.headers["X-Citadel-Attempts"] == "1"
    assert bench.metric("citadel_upstream_healthy", upstream="u0") == 0


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_is_a_cooldown_and_no_fault(open_bench: OpenBench, status: int) -> None:
    bench = await open_bench(replies(status, headers={"Retry-After": "30"}), replies())
    await bench.whole()
    row = bench.fleet.table.rows["u0"]
    assert (row.breaker.failures, row.breaker.state) == (0, BreakerState.CLOSED)
    for _ in range(3):
        assert (await bench.whole()).headers["X-Citadel-Attempts"] == "1"
    assert len(bench.upstreams[0].seen) == 1


async def test_all_busy_is_no_capacity_with_the_time_to_come_back(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(429, headers={"Retry-After": "9"}), replies(503, headers={"Retry-After": "4"}))
    with pytest.raises(RequestError) as caught:
        await bench.whole()
    assert (caught.value.code, caught.value.retry_after_s) == (Code.NO_CAPACITY, 4)
    with pytest.raises(RequestError) as caught:
        await bench.whole()
    assert caught.value.code is Code.NO_CAPACITY
    assert caught.value.retry_after_s == pytest.approx(4, abs=1.5)
    assert [row.attempts for row in bench.ledger.rows] == [2, 0]
    assert [row.outcome for row in bench.ledger.rows] == [Outcome.ERROR] * 2


async def test_every_replica_failing_is_told_with_all_reasons(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(500, {"error": "secret trace"}), drop, replies(429))
    with pytest.raises(RequestError) as caught:
        await bench.whole()
    assert caught.value.code is Code.UPSTREAM_ERROR
    for reason in ("u0: status 500", "u1: reset", "u2: busy 429"):
        assert reason in caught.value.message
    assert "secret trace" not in caught.value.message
    # The one whose connection broke is asked once more: it may have died of old age.
    assert caught.value.headers["X-Citadel-Attempts"] == "4"
    assert (bench.row.outcome, bench.row.attempts, bench.row.cost_usd) == (Outcome.ERROR, 4, 0)


async def test_retries_are_bounded_by_config(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(500), replies(500), replies(500), replies(), retries=1)
    with pytest.raises(RequestError):
        await bench.whole()
    assert sum(len(upstream.seen) for upstream in bench.upstreams) == 2
    assert bench.metric("citadel_routing_retries_total", listener="routing-api", model="m", fault="status") == 1


async def test_no_replica_at_all_is_no_capacity_with_reasons(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(), healthy=False)
    with pytest.raises(RequestError) as caught:
        await bench.whole()
    assert caught.value.code is Code.NO_CAPACITY
    assert "not probed yet" in caught.value.message
    assert caught.value.retry_after_s is not None
    assert (bench.row.attempts, bench.row.upstream) == (0, None)
    assert bench.row.decision_id is not None


async def test_a_kept_connection_that_died_is_opened_again_on_the_only_replica(open_bench: OpenBench) -> None:
    bench = await open_bench(in_turn(drop, replies()))
    client = await bench.whole()
    assert (client.status, client.headers["X-Citadel-Attempts"]) == (200, "2")


async def test_a_replica_that_resets_twice_is_left_alone(open_bench: OpenBench) -> None:
    bench = await open_bench(drop, retries=5)
    with pytest.raises(RequestError):
        await bench.whole()
    assert len(bench.upstreams[0].seen) == 2


async def test_five_failures_open_the_breaker_and_it_is_told(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(500), replies(), retries=0, strategy=StrategyName.ROUND_ROBIN)
    with bench.hub.subscribe([Topic.BREAKERS]) as told:
        failed = sum([await fails(bench) for _ in range(10)])
        message = await anext(told)
    assert failed == 5
    assert (message.payload["breaker"], message.payload["state"]) == ("u0", "open")  # type: ignore[union-attr]
    for _ in range(4):
        await bench.whole()
    assert len(bench.upstreams[0].seen) == 5
    assert bench.metric("citadel_breaker_state", breaker="u0") == 2
    choice = bench.pipeline.explain(bench.call())
    assert choice.candidates[0].excluded is not None
    assert "breaker is open" in choice.candidates[0].excluded.reason
    assert choice.candidates[0].excluded.retry_in_s == pytest.approx(3.75, abs=3)


async def fails(bench: Bench) -> bool:
    try:
        await bench.whole()
    except RequestError:
        return True
    return False


async def test_the_only_replica_is_asked_although_its_breaker_is_open(open_bench: OpenBench) -> None:
    bench = await open_bench(in_turn(*[replies(500)] * 5, replies()), retries=0)
    for _ in range(5):
        assert await fails(bench)
    breaker = bench.fleet.table.rows["u0"].breaker
    assert breaker.state is BreakerState.OPEN
    assert (await bench.whole()).status == 200
    assert breaker.state is BreakerState.CLOSED
    assert next(bench.pipeline.decisions.newest_first()).panic


async def test_half_open_lets_one_request_through_and_its_success_closes(open_bench: OpenBench) -> None:
    gate = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await replies()(request)

    bench = await open_bench(
        in_turn(*[replies(500)] * 5, slow), replies(), retries=0, strategy=StrategyName.ROUND_ROBIN
    )
    for _ in range(10):
        await fails(bench)
    breaker = bench.fleet.table.rows["u0"].breaker
    breaker.retry_at = 0.0
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(bench.whole()) for _ in range(6)]
        while len(bench.upstreams[0].seen) < 6:
            await asyncio.sleep(0.01)
        assert breaker.state is BreakerState.HALF_OPEN
        while sum(call.done() for call in calls) < 5:
            await asyncio.sleep(0.01)
        assert len(bench.upstreams[0].seen) == 6
        gate.set()
    assert breaker.state is BreakerState.CLOSED


async def test_a_probe_whose_client_left_frees_the_place(open_bench: OpenBench) -> None:
    bench = await open_bench(in_turn(*[replies(500)] * 5, freeze, replies()), retries=0)
    for _ in range(5):
        with pytest.raises(RequestError):
            await bench.whole()
    breaker = bench.fleet.table.rows["u0"].breaker
    breaker.retry_at = 0.0
    probe = asyncio.get_running_loop().create_task(bench.whole())
    while len(bench.upstreams[0].seen) < 6:
        await asyncio.sleep(0.01)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert breaker.state is BreakerState.HALF_OPEN
    await bench.whole()
    assert breaker.state is BreakerState.CLOSED


async def test_a_connection_that_is_never_accepted_times_out(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(), replies(), connect_s=0.3)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(3):  # so that the backlog is full and the kernel drops further SYNs
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        bench.fleet.table.rows["u0"].url = "http://{}:{}".format(*full.getsockname())
        client = await bench.whole()
        for filler in fillers:
            filler.close()
    assert client.headers["X-Citadel-Upstream"] == "u1"
    assert next(bench.pipeline.decisions.newest_first()).attempts[0].outcome == "connect_timeout"
    assert bench.fleet.table.rows["u0"].healthy


async def test_what_is_no_http_is_malformed(open_bench: OpenBench) -> None:
    async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        writer.close()

    bench = await open_bench(replies(), replies())
    async with await asyncio.start_server(gibberish, "127.0.0.1", 0) as server:
        bench.fleet.table.rows["u0"].url = "http://{}:{}".format(*server.sockets[0].getsockname())
        client = await bench.whole()
    assert client.headers["X-Citadel-Upstream"] == "u1"
    attempt = next(bench.pipeline.decisions.newest_first()).attempts[0]
    assert attempt.outcome == "malformed"


async def test_tgis_424_is_tried_elsewhere_and_others_is_not(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(424), replies(), engine=Engine.TGI)
    assert (await bench.whole()).status == 200
    bench = await open_bench(replies(424), replies())
    assert (await bench.whole()).status == 424


@pytest.mark.parametrize("body", [{}, {"stream": True}])
async def test_load_is_counted_from_the_decision_on(open_bench: OpenBench, body: dict[str, Any]) -> None:
    answer = says(*SPOKEN) if body else replies()
    seen: list[int] = []

    async def counting(request: web.Request) -> web.StreamResponse:
        seen.append(bench.in_flight())
        return await answer(request)

    bench = await open_bench(counting)
    await bench.whole(body)
    assert seen == [1]
    assert bench.in_flight() == 0


async def test_an_error_whose_body_breaks_off_is_still_that_error(open_bench: OpenBench) -> None:
    async def torn(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=422, headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"error":')
        assert request.transport is not None
        request.transport.close()
        return response

    bench = await open_bench(torn)
    assert (await bench.whole()).status == 422


async def test_the_decisions_that_are_kept_are_bounded(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    decisions = Decisions(bench.hub, kept=2)
    for _ in range(3):
        await bench.whole()
    made = list(bench.pipeline.decisions.newest_first())
    for decision in reversed(made):
        decisions.add(decision)
    assert [one.id for one in decisions.newest_first()] == [one.id for one in made[:2]]
    assert decisions.get(made[2].id) is None
    assert decisions.get(made[0].id) is made[0]
