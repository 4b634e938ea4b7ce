"""A late call gets a double: who wins, what becomes of the other, and that it is paid once."""

import asyncio
import json
import random
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.config.shape import HedgeConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.table import RowState
from citadel_edge.routing.hedging import HedgeDelay
from completions.bench import Bench, Client, OpenBench
from completions.scripted import (
    DONE,
    SPOKEN,
    WHOLE,
    Answer,
    chunk,
    drop,
    freeze,
    replies,
    reset,
    says,
    says_then,
    stall,
    usage_chunk,
)

SEEN_ENOUGH = 20
HEDGES = {"listener": "routing-api", "model": "m"}
both_kinds = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def good(*, stream: bool) -> Answer:
    return says(*SPOKEN) if stream else replies()


def after(gate: asyncio.Event, answer: Answer, *, tells: asyncio.Event | None = None, pause_s: float = 0.0) -> Answer:
    """Answer once the gate is open, and say before that the call has come."""

    async def waited(request: web.Request) -> web.StreamResponse:
        if tells is not None:
            tells.set()
        await gate.wait()
        await asyncio.sleep(pause_s)
        return await answer(request)

    return waited


def telling(event: asyncio.Event, answer: Answer, *, pause_s: float = 0.0) -> Answer:
    """Say that the call has come, and answer."""
    opened = asyncio.Event()
    opened.set()
    return after(opened, answer, tells=event, pause_s=pause_s)


async def ask(bench: Bench, *, stream: bool, **changes: Any) -> Client:
    return await bench.whole({"stream": stream}, **changes)


async def hedged(
    open_bench: OpenBench,
    *,
    stream: bool,
    replicas: int = 2,
    calls: int = SEEN_ENOUGH,
    share: float = 1.0,
    usual_s: float = 0.02,
    **rest: Any,
) -> Bench:
    """A bench that has seen enough calls, each of `usual_s`, to know which are late."""
    quick = good(stream=stream)
    bench = await open_bench(*[quick] * replicas, hedge=HedgeConfig(enabled=True, share=share), **rest)
    for _ in range(calls):
        delays(bench).observe("m", usual_s, stream=stream)
    return bench


def delays(bench: Bench) -> HedgeDelay:
    return bench.pipeline._answers._hedges._delays


async def gone(bench: Bench, mark: str) -> None:
    """The replica saw that nobody waits for its answer any more."""
    await asyncio.wait_for(bench.upstream(mark).cut.wait(), 5)


@both_kinds
async def test_a_late_call_gets_a_double_and_the_first_to_answer_has_the_request(
    open_bench: OpenBench, *, stream: bool
) -> None:
    bench = await hedged(open_bench, stream=stream)
    bench.in_order(freeze, good(stream=stream))
    client = await ask(bench, stream=stream)
    assert bench.marks == [("first", "cancelled"), ("hedge", "done")]
    assert client.headers["X-Citadel-Upstream"] == bench.upstream("hedge").id != bench.upstream("first").id
    assert client.headers["X-Citadel-Attempts"] == "2"
    row = bench.row
    assert (row.outcome, row.attempts, row.upstream) == (Outcome.DONE, 2, bench.upstream("hedge").id)
    assert (row.tokens_in, row.tokens_out, row.cost_usd) == (7, 2, Decimal("0.000011"))
    assert bench.metric("citadel_routing_hedges_total", **HEDGES) == 1
    assert bench.fleet.table.rows[bench.upstream("first").id].breaker.failures == 0
    await gone(bench, "first")


async def test_what_is_known_of_a_call_that_was_overtaken_counts(open_bench: OpenBench) -> None:
    bench = await hedged(open_bench, stream=False)
    known = delays(bench)._known["m", False]
    bench.in_order(freeze, replies())
    await bench.whole()
    assert known.seen == SEEN_ENOUGH + 2, "the first took longer than until then"
    doubled = asyncio.Event()
    bench.in_order(after(doubled, replies()), telling(doubled, freeze))
    await bench.whole()
    assert known.seen == SEEN_ENOUGH + 3, "nobody knows how long the double would have taken"


@both_kinds
async def test_a_double_comes_no_sooner_than_most_calls_have_answered(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await hedged(open_bench, stream=stream, calls=0)
    open_gate = asyncio.Event()
    open_gate.set()
    bench.in_order(after(open_gate, good(stream=stream), pause_s=0.05))
    for _ in range(SEEN_ENOUGH):
        await ask(bench, stream=stream)
    came: list[float] = []

    async def noted(request: web.Request) -> web.StreamResponse:
        came.append(asyncio.get_running_loop().time())
        return await (freeze if len(came) == 1 else good(stream=stream))(request)

    bench.in_order(noted)
    await ask(bench, stream=stream)
    assert came[1] - came[0] > 0.04
    bench.in_order(good(stream=stream))
    await ask(bench, stream=stream)
    assert bench.marks == [("first", "done")]


@both_kinds
async def test_no_double_before_enough_was_seen(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await hedged(open_bench, stream=stream, calls=SEEN_ENOUGH - 1)
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, late.set)
    bench.in_order(after(late, good(stream=stream)), freeze)
    await ask(bench, stream=stream)
    assert bench.marks == [("first", "done")]
    bench.in_order(freeze, good(stream=stream))
    await ask(bench, stream=stream)
    assert bench.marks == [("first", "cancelled"), ("hedge", "done")]


async def test_streams_and_whole_answers_are_known_apart(open_bench: OpenBench) -> None:
    bench = await hedged(open_bench, stream=True)
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, late.set)
    bench.in_order(after(late, replies()), replies())
    await ask(bench, stream=False)
    assert bench.marks == [("first", "done")]


async def test_no_double_unless_it_is_wanted(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(), replies())
    for _ in range(SEEN_ENOUGH):
        await bench.whole()
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, late.set)
    bench.in_order(after(late, replies()), replies())
    await bench.whole()
    assert bench.marks == [("first", "done")]


@both_kinds
async def test_the_first_may_still_win_and_its_double_is_cut_off(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await hedged(open_bench, stream=stream)
    doubled = asyncio.Event()
    bench.in_order(after(doubled, good(stream=stream)), telling(doubled, freeze))
    client = await ask(bench, stream=stream)
    assert bench.marks == [("hedge", "cancelled"), ("first", "done")]
    assert client.headers["X-Citadel-Upstream"] == bench.upstream("first").id
    assert (bench.row.tokens_in, bench.row.tokens_out) == (7, 2)
    await gone(bench, "hedge")


@pytest.mark.parametrize(
    ("stream", "half", "other"),
    [
        (True, says_then(chunk(""), then=stall), says(chunk("the"), chunk("other"), chunk(finish="stop"), DONE)),
        (
            False,
            says_then(b'{"half": "a body', then=stall, pause_s=0.01),
            replies(body={**WHOLE, "id": "the other"}),
        ),
    ],
    ids=["stream", "whole"],
)
async def test_only_the_winners_bytes_reach_the_client(
    open_bench: OpenBench, *, stream: bool, half: Answer, other: Answer
) -> None:
    bench = await hedged(open_bench, stream=stream)
    bench.in_order(half, other)
    client = await ask(bench, stream=stream)
    assert bench.marks == [("first", "cancelled"), ("hedge", "done")]
    assert b"other" in client.text
    assert b"half" not in client.text
    assert client.text.count(b'"id"') == (3 if stream else 1)


FAILURES = [
    (False, drop, "reset"),
    (False, replies(500), "status"),
    (False, replies(429), "busy"),
    (False, replies(raw=b"<html>"), "malformed"),
    (True, drop, "reset"),
    (True, replies(500), "status"),
    (True, replies(), "malformed"),
    (True, says_then(chunk(""), then=reset), "truncated"),
]
all_failures = pytest.mark.parametrize(
    ("stream", "bad", "fault"), FAILURES, ids=[f"{'stream' if one[0] else 'whole'}-{one[2]}" for one in FAILURES]
)


@all_failures
async def test_a_first_call_that_fails_leaves_it_to_the_double(
    open_bench: OpenBench, *, stream: bool, bad: Answer, fault: str
) -> None:
    bench = await hedged(open_bench, stream=stream)
    doubled = asyncio.Event()
    bench.in_order(after(doubled, bad), telling(doubled, good(stream=stream), pause_s=0.2))
    client = await ask(bench, stream=stream)
    assert bench.marks == [("first", fault), ("hedge", "done")]
    assert client.headers["X-Citadel-Upstream"] == bench.upstream("hedge").id
    assert (bench.row.outcome, bench.row.attempts) == (Outcome.DONE, 2)


@all_failures
async def test_a_double_that_fails_leaves_it_to_the_first_call(
    open_bench: OpenBench, *, stream: bool, bad: Answer, fault: str
) -> None:
    bench = await hedged(open_bench, stream=stream)
    doubled = asyncio.Event()
    bench.in_order(after(doubled, good(stream=stream), pause_s=0.2), telling(doubled, bad))
    client = await ask(bench, stream=stream)
    assert bench.marks == [("hedge", fault), ("first", "done")]
    assert client.headers["X-Citadel-Upstream"] == bench.upstream("first").id
    assert (bench.row.outcome, bench.row.attempts) == (Outcome.DONE, 2)


@both_kinds
@pytest.mark.parametrize("first_fails_first", [True, False])
async def test_when_both_fail_a_third_is_asked(open_bench: OpenBench, *, stream: bool, first_fails_first: bool) -> None:
    bench = await hedged(open_bench, stream=stream, replicas=3)
    doubled = asyncio.Event()
    sooner, later = (0.0, 0.2) if first_fails_first else (0.2, 0.0)
    bench.in_order(
        after(doubled, replies(500), pause_s=sooner),
        telling(doubled, replies(502), pause_s=later),
        good(stream=stream),
    )
    await ask(bench, stream=stream)
    failed = [("first", "status"), ("hedge", "status")]
    assert bench.marks[:2] == (failed if first_fails_first else failed[::-1])
    assert bench.marks[2:] == [("retry", "done")]
    assert len({one.upstream for one in bench.decision.attempts}) == 3


@both_kinds
async def test_when_both_fail_and_none_is_left_the_client_hears_of_both(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await hedged(open_bench, stream=stream)
    doubled = asyncio.Event()
    bench.in_order(after(doubled, replies(500)), telling(doubled, replies(502), pause_s=0.1), good(stream=stream))
    with pytest.raises(RequestError) as caught:
        await ask(bench, stream=stream)
    assert caught.value.code is Code.UPSTREAM_ERROR
    assert "status 500" in caught.value.message
    assert "status 502" in caught.value.message
    assert (bench.row.outcome, bench.row.attempts, bench.row.cost_usd) == (Outcome.ERROR, 2, 0)


def headers_then(gate: asyncio.Event, *pieces: bytes, tells: asyncio.Event, content_type: str) -> Answer:
    """Send the headers, say so, and the pieces once the gate is open."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        tells.set()
        await gate.wait()
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.02)
        return response

    return answer


@both_kinds
@pytest.mark.parametrize("headers_sent", [True, False], ids=["headers were sent", "silent"])
@pytest.mark.parametrize("double_first", [True, False], ids=["double first", "double last"])
async def test_both_may_answer_in_the_same_turn(
    open_bench: OpenBench, *, stream: bool, double_first: bool, headers_sent: bool
) -> None:
    bench = await hedged(open_bench, stream=stream)
    pieces = [chunk("a"), chunk("b"), chunk(finish="stop"), usage_chunk(7, 2), DONE]
    answer = says(*pieces, pause_s=0.02) if stream else replies()
    said = pieces if stream else [json.dumps(WHOLE).encode()]
    kind = "text/event-stream" if stream else "application/json"
    for _ in range(3):
        gates, came = (asyncio.Event(), asyncio.Event()), asyncio.Event()
        if headers_sent:
            ignored = asyncio.Event()
            bench.in_order(
                headers_then(gates[0], *said, tells=ignored, content_type=kind),
                headers_then(gates[1], *said, tells=came, content_type=kind),
            )
        else:
            bench.in_order(after(gates[0], answer), after(gates[1], answer, tells=came))
        task = asyncio.get_running_loop().create_task(ask(bench, stream=stream))
        await asyncio.wait_for(came.wait(), 10)
        await asyncio.sleep(0.05)
        for gate in gates[::-1] if double_first else gates:
            gate.set()
        client = await asyncio.wait_for(task, 10)
        assert sorted(outcome for _, outcome in bench.marks) == ["cancelled", "done"]
        if stream:
            assert client.text == b"".join(pieces[:3]) + DONE
        assert (bench.ledger.rows[-1].outcome, bench.ledger.rows[-1].tokens_out) == (Outcome.DONE, 2)


@both_kinds
@pytest.mark.parametrize("double_first", [True, False])
async def test_the_double_may_answer_in_the_turn_in_which_the_first_breaks(
    open_bench: OpenBench, *, stream: bool, double_first: bool
) -> None:
    bench = await hedged(open_bench, stream=stream)
    for _ in range(3):
        gates, came = (asyncio.Event(), asyncio.Event()), asyncio.Event()
        bench.in_order(after(gates[0], drop), after(gates[1], good(stream=stream), tells=came))
        task = asyncio.get_running_loop().create_task(ask(bench, stream=stream))
        await asyncio.wait_for(came.wait(), 10)
        await asyncio.sleep(0.05)
        for gate in gates[::-1] if double_first else gates:
            gate.set()
        client = await asyncio.wait_for(task, 10)
        assert client.headers["X-Citadel-Upstream"] == bench.upstream("hedge").id
        assert bench.marks[-1] == ("hedge", "done")
        for row in bench.fleet.table.rows.values():
            row.breaker.reset("test")


@both_kinds
async def test_a_client_that_leaves_both_is_heard_by_both(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await hedged(open_bench, stream=stream)
    bench.in_order(freeze)
    task = asyncio.get_running_loop().create_task(ask(bench, stream=stream))
    for upstream in bench.upstreams:
        await asyncio.wait_for(upstream.arrived.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(bench.marks) == [("first", "cancelled"), ("hedge", "cancelled")]
    row = bench.row
    assert (row.outcome, row.attempts, row.tokens_out) == (Outcome.CANCELLED, 2, 0)
    assert 0 < row.tokens_in < 100, "one prompt's"
    await gone(bench, "first")
    await gone(bench, "hedge")


@both_kinds
async def test_the_deadline_ends_both(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await hedged(open_bench, stream=stream)
    bench.in_order(freeze)
    with pytest.raises(RequestError) as caught:
        await ask(bench, stream=stream, deadline_s=2.0)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert sorted(bench.marks) == [("first", "total_timeout"), ("hedge", "total_timeout")]
    assert [row.breaker.failures for row in bench.fleet.table.rows.values()] == [0, 0]
    await gone(bench, "first")
    await gone(bench, "hedge")


@pytest.mark.parametrize("first", [freeze, drop, says_then(b'{"half', then=stall)], ids=["silent", "gone", "talking"])
async def test_a_double_too_large_to_be_held_is_overload(open_bench: OpenBench, first: Answer) -> None:
    bench = await hedged(open_bench, stream=False)
    doubled = asyncio.Event()
    large = replies(body={**WHOLE, "padding": "x" * 2**20})
    bench.in_order(after(doubled, first), telling(doubled, large, pause_s=0.1))

    def hold(n_bytes: int) -> None:
        if n_bytes > 100:
            raise RequestError(Code.OVERLOADED, "full", retry_after_s=1)

    with pytest.raises(RequestError) as caught:
        await asyncio.wait_for(ask(bench, stream=False, hold=hold), 10)
    assert caught.value.code is Code.OVERLOADED
    assert (bench.row.outcome, bench.row.tokens_in, bench.row.tokens_out) == (Outcome.ERROR, 0, 0)
    assert bench.fleet.table.rows[bench.upstream("hedge").id].breaker.failures == 0
    assert {mark for mark, _ in bench.marks} == {"first", "hedge"}


@pytest.mark.parametrize("ours", [ZeroDivisionError("ours"), ConnectionResetError("ours")])
async def test_a_fault_of_ours_in_the_double_is_that_fault(open_bench: OpenBench, ours: Exception) -> None:
    bench = await hedged(open_bench, stream=False)
    bench.in_order(freeze, replies())

    def fail(_: int) -> None:
        raise ours

    with pytest.raises(type(ours), match="ours"):
        await ask(bench, stream=False, hold=fail)
    assert (bench.row.outcome, bench.reports[0].code) == (Outcome.ERROR, "internal")
    await gone(bench, "first")


async def test_doubles_are_no_more_than_their_share(open_bench: OpenBench) -> None:
    bench = await hedged(open_bench, stream=False, share=0.05)
    for _ in range(SEEN_ENOUGH):
        await bench.whole()
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, late.set)
    bench.in_order(after(late, replies()))
    async with asyncio.TaskGroup() as group:
        for _ in range(SEEN_ENOUGH):
            group.create_task(bench.whole())
    assert bench.metric("citadel_routing_hedges_total", **HEDGES) == 0.05 * 2 * SEEN_ENOUGH


async def test_no_double_where_no_other_replica_is_free_and_the_share_is_kept(open_bench: OpenBench) -> None:
    bench = await hedged(open_bench, stream=False, calls=0, share=0.05)
    for _ in range(SEEN_ENOUGH):  # so that one double is saved up
        await bench.whole()
    bench.fleet.set_row("u1", weight=None, state=RowState.DRAINING, source="test")
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, late.set)
    bench.in_order(after(late, replies()), replies())
    await bench.whole()
    assert bench.marks == [("first", "done")]
    bench.fleet.set_row("u1", weight=None, state=RowState.ACTIVE, source="test")
    bench.in_order(freeze, replies())
    await asyncio.wait_for(bench.whole(), 10)
    assert bench.marks == [("first", "cancelled"), ("hedge", "done")]


async def test_an_answer_that_goes_on_elsewhere_gets_no_double(open_bench: OpenBench) -> None:
    bench = await hedged(open_bench, stream=True, replicas=3, usual_s=0.5)
    opened = asyncio.Event()
    opened.set()
    rest = says(chunk("b"), chunk(finish="stop"), usage_chunk(8, 1), DONE)
    bench.in_order(says_then(chunk("a"), then=reset), after(opened, rest, pause_s=1.0), freeze)
    await bench.stream()
    assert bench.marks == [("first", "truncated"), ("continue", "done")]


@both_kinds
async def test_a_double_whose_replica_dies_before_it_was_called_is_over(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await hedged(open_bench, stream=stream, replicas=3)
    placing = bench.pipeline._placing
    choose = placing.double

    def dies(*args: Any, **kwargs: Any) -> Any:
        double = choose(*args, **kwargs)
        assert double is not None
        row = double.deployment.row
        bench.fleet.probe_failed(row, "refused", at_once=True, asked=double.began - 10)
        return double

    placing.double = dies  # type: ignore[method-assign]
    doubled = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, doubled.set)
    bench.in_order(after(doubled, good(stream=stream)), freeze)
    await asyncio.wait_for(ask(bench, stream=stream), 10)
    assert bench.marks == [("hedge", "lost"), ("first", "done")]
    assert sum(len(upstream.seen) for upstream in bench.upstreams) == 1, "nobody calls the dead"


async def test_a_hundred_doubled_requests_that_leave_at_any_time_leave_nothing(open_bench: OpenBench) -> None:
    bench = await hedged(open_bench, stream=True, replicas=3)
    slow = says(*SPOKEN, pause_s=0.02)
    opened = asyncio.Event()
    opened.set()
    bench.in_order(*[after(opened, slow, pause_s=0.1), slow, drop, freeze, replies(500)] * 60, slow)
    when, loop = random.Random(7), asyncio.get_running_loop()
    tasks = [loop.create_task(bench.stream()) for _ in range(100)]
    for task in tasks:
        loop.call_later(when.random() * 0.6, task.cancel)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(result, asyncio.CancelledError) for result in results)
    strange = [one for one in results if isinstance(one, Exception) and not isinstance(one, RequestError)]
    assert not strange
    assert bench.in_flight() == 0
    assert len(bench.ledger.rows) == 100
    assert len(bench.client._session.connector._acquired) == 0  # type: ignore[union-attr]
