"""All replicas are full, cooling or shut: requests wait, within bounds, in a fair order, and hear why in vain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.pipeline import Pace
from citadel_edge.config.shape import StrategyName
from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.fleet.table import RowState
from completions.bench import CHAT, PRINCIPAL, Bench, Client, OpenBench
from completions.scripted import SPOKEN, Answer, drop, freeze, in_turn, replies, says

both_kinds = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
PATIENT = 20.0


def good(*, stream: bool) -> Answer:
    return says(*SPOKEN) if stream else replies()


def gated(gate: asyncio.Event, answer: Answer) -> Answer:
    async def waited(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await answer(request)

    return waited


async def waiting(bench: Bench, count: int) -> None:
    """Until so many wait, and everybody has had a turn of the loop."""
    async with asyncio.timeout(10):
        while bench.waiting() != count:
            await asyncio.sleep(0.002)
    await asyncio.sleep(0.01)


@asynccontextmanager
async def taken(bench: Bench, *, behind: int = 0) -> AsyncIterator[asyncio.Task[Client]]:
    """One call has the only place, and so many wait behind it; they leave in the end. The last of them."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(bench.whole())]
    await asyncio.wait_for(bench.upstreams[0].arrived.wait(), 10)
    tasks += [loop.create_task(bench.whole()) for _ in range(behind)]
    await waiting(bench, behind)
    try:
        yield tasks[-1]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def begin(group: asyncio.TaskGroup, bench: Bench, body: dict[str, Any] | None = None, **changes: Any) -> Any:
    return group.create_task(bench.whole(body, **changes))


@both_kinds
async def test_who_finds_all_full_is_answered_when_a_place_comes_free(open_bench: OpenBench, *, stream: bool) -> None:
    gate = asyncio.Event()
    bench = await open_bench(gated(gate, good(stream=stream)), slots=1, capacity_wait_s=PATIENT)
    async with asyncio.TaskGroup() as group:
        calls = [begin(group, bench, {"stream": stream}) for _ in range(4)]
        await waiting(bench, 3)
        assert bench.metric("citadel_routing_waiting", model="m") == 3
        await asyncio.wait_for(bench.upstreams[0].arrived.wait(), 10)
        assert len(bench.upstreams[0].seen) == 1
        gate.set()
    assert [call.result().status for call in calls] == [200] * 4
    assert [row.outcome for row in bench.ledger.rows] == [Outcome.DONE] * 4
    assert [row.attempts for row in bench.ledger.rows] == [1] * 4
    assert bench.metric("citadel_routing_waiting", model="m") == 0
    assert bench.metric("citadel_routing_wait_seconds_count", model="m") == 3
    assert bench.marks == [("first", "done")], "to wait is no retry"


async def test_who_meets_only_cooling_replicas_waits_until_one_is_back(open_bench: OpenBench) -> None:
    busy = replies(429, headers={"Retry-After": "0.3"})
    bench = await open_bench(in_turn(busy, replies()), in_turn(busy, replies()), capacity_wait_s=PATIENT, retries=0)
    client = await bench.whole()
    assert client.status == 200
    assert bench.marks == [("first", "busy"), ("retry", "busy"), ("retry", "done")], "busy uses up no retry"
    assert bench.row.duration_ms > 250


async def test_who_meets_only_open_breakers_waits_for_the_probe(open_bench: OpenBench) -> None:
    frozen = asyncio.Event()
    bench = await open_bench(
        in_turn(*[replies(500)] * 5, replies()),
        gated(frozen, replies()),
        slots=1,
        retries=0,
        capacity_wait_s=PATIENT,
        strategy=StrategyName.ROUND_ROBIN,
    )
    row = bench.fleet.table.rows["u0"]
    bench.fleet.set_row("u1", weight=None, state=RowState.DRAINING, source="test")
    for _ in range(5):
        with pytest.raises(RequestError):
            await bench.whole()
    assert row.breaker.state is BreakerState.OPEN
    bench.fleet.set_row("u1", weight=None, state=RowState.ACTIVE, source="test")
    row.breaker.retry_at = asyncio.get_running_loop().time() + 0.4
    async with asyncio.TaskGroup() as group:
        begin(group, bench)
        await asyncio.wait_for(bench.upstreams[1].arrived.wait(), 10)
        second = begin(group, bench)
        await waiting(bench, 1)
        assert (await second).headers["X-Citadel-Upstream"] == "u0"
        frozen.set()
    assert row.breaker.state is BreakerState.CLOSED


@both_kinds
async def test_patience_ends_with_no_capacity_and_the_reasons(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await open_bench(freeze, slots=1, capacity_wait_s=0.3)
    async with taken(bench):
        with pytest.raises(RequestError) as caught:
            await bench.whole({"stream": stream})
    error = caught.value
    assert error.code is Code.NO_CAPACITY
    assert "u0: all of its 1 places are taken" in error.message
    assert "waited for 0.3 s" in error.message
    assert error.retry_after_s is not None
    assert error.headers["X-Citadel-Attempts"] == "0"
    row = bench.ledger.rows[0]
    assert (row.outcome, row.attempts, row.cost_usd) == (Outcome.ERROR, 0, 0)
    assert bench.metric("citadel_routing_waits_given_up_total", model="m", reason="time_over") == 1


@both_kinds
async def test_the_deadline_while_waiting_is_told_with_the_reasons(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await open_bench(freeze, slots=1, capacity_wait_s=PATIENT)
    async with taken(bench, behind=1):  # so that it never has its turn to look
        with pytest.raises(RequestError) as caught:
            await bench.whole({"stream": stream}, deadline_s=0.3)
        assert [one.upstream for one in bench.decision.candidates] == ["u0"]
    error = caught.value
    assert error.code is Code.DEADLINE_EXCEEDED
    assert "X-Citadel-Timeout: 0.3 s" in error.message
    assert "u0: all of its 1 places are taken" in error.message
    assert error.retry_after_s is not None


async def test_those_of_one_model_leave_half_of_the_seats_to_others(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(), slots=1, capacity_wait_s=PATIENT)
    waits = bench.pipeline._placing._waits
    assert waits.max_waiting == 128
    config = bench.config.value
    narrow = {name: replace(one, budget=replace(one.budget, tasks=9)) for name, one in config.listeners.items()}
    bench.config.replace(replace(config, listeners=narrow))
    assert waits.max_waiting == 4


async def test_the_queue_is_bounded(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, slots=1, capacity_wait_s=PATIENT)
    bench.pipeline._placing._waits.max_waiting = 2
    async with taken(bench, behind=2):
        with pytest.raises(RequestError) as caught:
            await bench.whole()
    assert caught.value.code is Code.NO_CAPACITY
    assert "u0: all of its 1 places are taken" in caught.value.message
    assert "Too many requests wait" in caught.value.message
    assert bench.metric("citadel_routing_waits_given_up_total", model="m", reason="queue_full") == 1


async def test_who_knows_that_all_are_back_too_late_does_not_wait(open_bench: OpenBench) -> None:
    busy = replies(429, headers={"Retry-After": "40"})
    bench = await open_bench(busy, busy, capacity_wait_s=PATIENT)
    for attempts in (2, 0):
        with pytest.raises(RequestError) as caught:
            await asyncio.wait_for(bench.whole(), 5)
        assert caught.value.code is Code.NO_CAPACITY
        assert caught.value.retry_after_s == pytest.approx(40, abs=5)
        assert bench.ledger.rows[-1].attempts == attempts
    for row in bench.fleet.table.rows.values():
        row.cooling_until -= 38
    with pytest.raises(RequestError) as caught:
        await asyncio.wait_for(bench.whole(deadline_s=0.5), 5)
    assert caught.value.code is Code.NO_CAPACITY
    assert bench.waiting() == 0


async def test_no_wait_at_all_where_none_is_configured(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, slots=1, capacity_wait_s=0.0)
    async with taken(bench):
        with pytest.raises(RequestError, match="places are taken"):
            await bench.whole()


async def test_the_reasons_are_those_of_the_last_look(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, slots=1, capacity_wait_s=PATIENT)
    async with taken(bench, behind=1) as second:
        bench.fleet.set_row("u0", weight=None, state=RowState.DRAINING, source="test")
        with pytest.raises(RequestError, match="u0: it is draining"):
            await asyncio.wait_for(second, 5)


@pytest.mark.parametrize("retry_after", ["0", "0.0"])
@pytest.mark.parametrize("patience_s", [0.0, 0.5])
async def test_a_replica_that_is_always_full_is_not_asked_in_a_circle(
    open_bench: OpenBench, retry_after: str, patience_s: float
) -> None:
    bench = await open_bench(replies(429, headers={"Retry-After": retry_after}), capacity_wait_s=patience_s)
    with pytest.raises(RequestError) as caught:
        await asyncio.wait_for(bench.whole(), 10)
    assert caught.value.code is Code.NO_CAPACITY
    assert 1 <= len(bench.upstreams[0].seen) <= 2 + patience_s / 0.1


@pytest.mark.parametrize("patience_s", [0.0, 0.4])
async def test_two_that_say_slowly_that_they_are_full_do_not_hold_a_request_for_ever(
    open_bench: OpenBench, patience_s: float
) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.15)  # longer than the other's cooldown
        return await replies(429, headers={"Retry-After": "0"})(request)

    bench = await open_bench(slow, slow, capacity_wait_s=patience_s)
    with pytest.raises(RequestError) as caught:
        await asyncio.wait_for(bench.whole(), 10)
    assert caught.value.code is Code.NO_CAPACITY
    assert sum(len(upstream.seen) for upstream in bench.upstreams) <= 8


async def test_patience_is_of_the_whole_request(open_bench: OpenBench) -> None:
    async def moody(request: web.Request) -> web.StreamResponse:
        return await replies(429, headers={"Retry-After": "0.2"})(request)

    bench = await open_bench(moody, capacity_wait_s=0.7)
    with pytest.raises(RequestError):
        await asyncio.wait_for(bench.whole(), 10)
    assert len(bench.upstreams[0].seen) <= 5


async def test_a_long_failure_is_no_waiting(open_bench: OpenBench) -> None:
    gate = asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.6)
        return await replies(500)(request)

    bench = await open_bench(late, gated(gate, replies()), slots=1, capacity_wait_s=0.5)
    bench.fleet.set_row("u0", weight=None, state=RowState.DRAINING, source="test")
    async with asyncio.TaskGroup() as group:
        begin(group, bench)
        await asyncio.wait_for(bench.upstreams[1].arrived.wait(), 10)
        bench.fleet.set_row("u0", weight=None, state=RowState.ACTIVE, source="test")
        second = begin(group, bench)
        await waiting(bench, 1)
        gate.set()
        assert (await second).headers["X-Citadel-Upstream"] == "u1"


async def test_users_take_turns_and_priority_counts(open_bench: OpenBench) -> None:
    served: list[str] = []
    gate = asyncio.Event()

    async def noted(request: web.Request) -> web.StreamResponse:
        served.append((await request.json())["user"])
        await gate.wait()
        return await replies()(request)

    bench = await open_bench(noted, slots=1, capacity_wait_s=PATIENT)
    names = {"heavy": 0, "light": 0, "best": 9}
    people = {name: replace(PRINCIPAL, user_id=f"usr_{name}", priority=priority) for name, priority in names.items()}
    order = ["heavy"] * 9 + ["light"] * 2 + ["best"] * 4
    async with asyncio.TaskGroup() as group:
        for at, name in enumerate(order):
            begin(group, bench, {"user": name, "max_tokens": 100}, principal=people[name])
            await waiting(bench, at)
        gate.set()
    assert sorted(served) == sorted(order)
    assert max(at for at, name in enumerate(served) if name == "light") < 9, "not behind the row of the heavy one"
    assert max(at for at, name in enumerate(served) if name == "best") < 9
    assert served[-4:] == ["heavy"] * 4


async def test_one_that_failed_somewhere_does_not_block_those_behind_it(open_bench: OpenBench) -> None:
    gate = asyncio.Event()
    bench = await open_bench(in_turn(replies(500), replies()), gated(gate, replies()), slots=1, capacity_wait_s=PATIENT)
    bench.fleet.set_row("u0", weight=None, state=RowState.DRAINING, source="test")
    async with asyncio.TaskGroup() as group:
        begin(group, bench)
        await asyncio.wait_for(bench.upstreams[1].arrived.wait(), 10)
        bench.fleet.set_row("u0", weight=None, state=RowState.ACTIVE, source="test")
        failed = begin(group, bench)
        await waiting(bench, 1)
        assert bench.fleet.table.rows["u0"].in_flight == 0
        other = await asyncio.wait_for(begin(group, bench), 5)
        assert other.headers["X-Citadel-Upstream"] == "u0"
        assert not failed.done()
        gate.set()
    assert failed.result().headers["X-Citadel-Upstream"] == "u1"


async def test_a_dead_connection_is_no_reason_to_wait_for_ever(open_bench: OpenBench) -> None:
    bench = await open_bench(drop, capacity_wait_s=PATIENT)
    with pytest.raises(RequestError) as caught:
        await asyncio.wait_for(bench.whole(), 10)
    assert caught.value.code is Code.UPSTREAM_ERROR


async def test_who_leaves_the_queue_makes_room_in_it(open_bench: OpenBench) -> None:
    gate = asyncio.Event()
    bench = await open_bench(gated(gate, replies()), slots=1, capacity_wait_s=PATIENT)
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(bench.whole()) for _ in range(4)]
    await waiting(bench, 3)
    tasks[1].cancel()
    await waiting(bench, 2)
    gate.set()
    tasks[2].cancel()  # in the turn in which a place comes free
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert [isinstance(one, Client) for one in results] == [True, False, False, True]
    assert sorted(row.outcome for row in bench.ledger.rows) == [Outcome.CANCELLED] * 2 + [Outcome.DONE] * 2
    assert [row.attempts for row in bench.ledger.rows if row.outcome is Outcome.CANCELLED] == [0, 0]


async def test_a_waiting_stream_is_kept_warm(open_bench: OpenBench) -> None:
    gate = asyncio.Event()
    bench = await open_bench(
        gated(gate, says(*SPOKEN)), slots=1, capacity_wait_s=PATIENT, pace=Pace(begin_within_s=0.1, heartbeat_s=0.1)
    )
    async with asyncio.TaskGroup() as group:
        begin(group, bench, {"stream": True})
        await asyncio.wait_for(bench.upstreams[0].arrived.wait(), 10)
        client = Client()
        call = bench.call({**CHAT, "stream": True})
        group.create_task(bench.pipeline.run(call, client))
        await asyncio.wait_for(client.wrote.wait(), 10)
        assert client.text.startswith(b": ping\n")
        gate.set()
    assert client.events[-1] == "[DONE]"
    assert "X-Citadel-Upstream" not in client.headers, "it was not known yet"
