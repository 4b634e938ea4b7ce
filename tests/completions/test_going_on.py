"""An answer breaks off in its middle: it goes on elsewhere as one answer, or ends with an honest word."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.pipeline import Pace
from citadel_edge.config.shape import Engine
from completions.bench import Bench, Client, OpenBench
from completions.scripted import (
    DONE,
    Answer,
    chunk,
    event,
    freeze,
    replies,
    reset,
    says,
    says_then,
    usage_chunk,
)

REST = says(chunk("c"), chunk("d"), chunk(finish="stop"), usage_chunk(9, 2), DONE)
BREAKS = says_then(chunk("a"), chunk("b"), then=reset)
MODEL = {"listener": "routing-api", "model": "m"}


def text_of(client: Client) -> str:
    choices = [choice for one in client.events if isinstance(one, dict) for choice in one.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def finishes(client: Client) -> list[str]:
    choices = [choice for one in client.events if isinstance(one, dict) for choice in one.get("choices", ())]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def check_whole(client: Client, text: str, finish: str = "stop") -> None:
    assert text_of(client) == text
    assert finishes(client) == [finish]
    assert client.events[-1] == "[DONE]"
    assert client.text.count(DONE) == 1
    assert client.finished == 1


def check_cut(client: Client, bench: Bench, text: str) -> dict[str, Any]:
    """An honest end: an error event that is the last word."""
    assert text_of(client) == text
    assert finishes(client) == []
    assert DONE not in client.text
    assert client.finished == 1
    error: dict[str, Any] = client.events[-1]["error"]
    assert "What was sent is not the whole answer" in error["message"]
    assert bench.row.outcome is Outcome.TRUNCATED
    assert bench.row.cost_usd > 0
    return error


def says_so(status: int, message: str = "no") -> Answer:
    return replies(status, {"error": {"message": message}})


async def test_the_client_gets_one_answer_and_one_row_for_both_parts(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(BREAKS, REST)
    client = await bench.stream({"stream_options": {"include_usage": True}})
    check_whole(client, "abcd")
    assert bench.marks == [("first", "truncated"), ("continue", "done")]
    row = bench.row
    assert (row.outcome, row.attempts, row.upstream) == (Outcome.DONE, 2, bench.upstream("continue").id)
    assert row.tokens_out == 4
    usages = [one["usage"] for one in client.events if isinstance(one, dict) and one.get("usage")]
    assert [usage["completion_tokens"] for usage in usages] == [4]
    assert usages[0]["prompt_tokens"] == row.tokens_in
    assert bench.metric("citadel_routing_continuations_total", **MODEL) == 1
    (sent,) = bench.upstream("continue").seen
    assert sent.body["messages"][-1] == {"role": "assistant", "content": "ab"}
    assert sent.body["continue_final_message"] is True


async def test_the_headers_are_of_the_call_that_began(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(BREAKS, REST)
    client = await bench.stream()
    assert client.status == 200
    assert client.headers["X-Citadel-Upstream"] == bench.upstream("first").id
    assert client.headers["X-Citadel-Attempts"] == "1"


async def test_the_first_token_is_counted_once(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze, freeze)
    bench.in_order(BREAKS, says_then(chunk("c"), then=reset), REST)
    client = await bench.stream()
    assert text_of(client) == "abccd"
    assert bench.metric("citadel_routing_time_to_first_token_seconds_count", **MODEL) == 1
    assert bench.row.ttft_ms is not None


async def test_a_first_token_that_nobody_got_is_not_counted(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze)
    broken = says(chunk("x") + event({"error": {"message": "no", "code": 500}}))
    bench.in_order(broken, says(chunk("a"), chunk(finish="stop"), DONE, pause_s=0.01))
    client = await bench.stream()
    check_whole(client, "a")
    assert bench.metric("citadel_routing_time_to_first_token_seconds_count", **MODEL) == 1


async def test_it_may_break_as_often_as_there_are_retries(open_bench: OpenBench) -> None:
    bench = await open_bench(*[freeze] * 4)
    parts = [says_then(chunk(one), then=reset) for one in "abc"]
    bench.in_order(*parts, says(chunk("d"), chunk(finish="stop"), usage_chunk(9, 1), DONE))
    client = await bench.stream()
    assert bench.marks == [("first", "truncated"), ("continue", "truncated"), ("continue", "truncated")]
    check_cut(client, bench, "abc")
    bench = await open_bench(*[freeze] * 4, retries=3)
    bench.in_order(*parts, says(chunk("d"), chunk(finish="stop"), usage_chunk(9, 1), DONE))
    client = await bench.stream()
    check_whole(client, "abcd")
    assert (bench.row.tokens_out, bench.row.attempts) == (4, 4)


@pytest.mark.parametrize("usage", [False, True])
async def test_an_answer_that_had_its_end_needs_nobody(open_bench: OpenBench, *, usage: bool) -> None:
    bench = await open_bench(says_then(chunk("a"), chunk(finish="stop"), b"data: {", then=reset), freeze)
    bench.fleet.set_row("u1", weight=0.001, state=bench.fleet.table.rows["u1"].state, source="test")
    bench.in_order(says_then(chunk("a"), chunk(finish="stop"), b"data: {", then=reset), freeze)
    client = await asyncio.wait_for(bench.stream({"stream_options": {"include_usage": usage}}), 10)
    check_whole(client, "a")
    assert bench.row.outcome is Outcome.DONE
    assert bench.row.attempts == 1
    told = [one["usage"]["completion_tokens"] for one in client.events if isinstance(one, dict) and one.get("usage")]
    assert told == ([1] if usage else [])


async def test_an_answer_that_used_up_its_tokens_ends_by_its_length(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(BREAKS, freeze)
    client = await asyncio.wait_for(bench.stream({"max_tokens": 2}), 10)
    check_whole(client, "ab", "length")
    assert (bench.row.outcome, bench.row.tokens_out, bench.row.attempts) == (Outcome.DONE, 2, 1)


async def test_what_is_left_of_max_tokens_is_asked_for(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(BREAKS, REST)
    await bench.stream({"max_tokens": 10})
    assert bench.upstream("continue").seen[0].body["max_tokens"] == 8


@pytest.mark.parametrize("status", [400, 404, 422, 500])
async def test_an_engine_that_refuses_to_go_on_ends_it_honestly(open_bench: OpenBench, status: int) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(BREAKS, says_so(status, "add_generation_prompt is unknown"))
    client = await bench.stream()
    error = check_cut(client, bench, "ab")
    assert error["code"] == "upstream_error"
    assert f"{bench.upstream('first').id}: truncated" in error["message"], "what broke, and where"
    assert "add_generation_prompt" not in error["message"]
    assert bench.marks == [("first", "truncated"), ("continue", "status")]


async def test_one_that_will_not_go_on_is_well_and_another_one_is_asked(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze, freeze, engine=Engine.LLAMACPP)
    restarts = says(chunk("As I said: ab"), chunk(finish="stop"), DONE)
    bench.in_order(says_then(chunk("Once upon a time there was "), then=reset), restarts, freeze)
    task = asyncio.get_running_loop().create_task(bench.stream(deadline_s=3.0))
    client = await task
    assert client.finished == 1
    assert text_of(client).startswith("Once upon a time there was ")
    second = bench.decision.attempts[1].upstream
    assert bench.fleet.table.rows[second].breaker.failures == 0


async def test_when_nobody_is_left_it_ends_honestly(open_bench: OpenBench) -> None:
    bench = await open_bench(BREAKS)
    client = await bench.stream()
    error = check_cut(client, bench, "ab")
    assert "Nobody was left to go on with it" in error["message"]


async def test_when_nobody_has_room_in_time_it_ends_honestly(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze, slots=1, capacity_wait_s=0.4)
    loop = asyncio.get_running_loop()
    other = loop.create_task(bench.whole())
    while not any(upstream.arrived.is_set() for upstream in bench.upstreams):
        await asyncio.sleep(0.005)
    free = next(upstream for upstream in bench.upstreams if not upstream.arrived.is_set())
    free.answer = BREAKS
    client = await asyncio.wait_for(bench.stream(), 10)
    error = check_cut(client, bench, "ab")
    assert error["code"] == "upstream_error"
    assert "Nobody was left to go on with it" in error["message"]
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def test_it_waits_for_one_that_can_go_on_and_the_client_is_kept_warm(open_bench: OpenBench) -> None:
    gate = asyncio.Event()

    async def gated(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await replies()(request)

    bench = await open_bench(
        gated, gated, slots=1, capacity_wait_s=20.0, pace=Pace(begin_within_s=0.2, heartbeat_s=0.1)
    )
    other = asyncio.get_running_loop().create_task(bench.whole())
    while not any(upstream.arrived.is_set() for upstream in bench.upstreams):
        await asyncio.sleep(0.005)
    busy, free = sorted(bench.upstreams, key=lambda one: not one.arrived.is_set())
    free.answer = BREAKS
    client = Client()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.pipeline.run(bench.call({"stream": True}), client))
        while client.text.count(b": ping") < 2 or not bench.waiting():
            await asyncio.sleep(0.01)
        busy.answer = REST
        gate.set()
    await other
    check_whole(client, "abcd")


async def test_the_clients_deadline_holds_for_all_parts(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(BREAKS, freeze)
    client = await asyncio.wait_for(bench.stream(deadline_s=1.0), 10)
    assert client.events[-1]["error"]["code"] == "deadline_exceeded"
    assert text_of(client) == "ab"
    assert (bench.row.outcome, bench.row.tokens_out) == (Outcome.TRUNCATED, 2)
    assert bench.marks == [("first", "truncated"), ("continue", "total_timeout")]


async def test_a_client_that_leaves_between_two_parts_pays_for_the_first(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(BREAKS, freeze)
    client = Client()
    task = asyncio.get_running_loop().create_task(bench.pipeline.run(bench.call({"stream": True}), client))
    while not all(upstream.arrived.is_set() for upstream in bench.upstreams):
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = bench.row
    assert (row.outcome, row.tokens_out, row.attempts) == (Outcome.CANCELLED, 2, 2)
    assert row.cost_usd > 0
    await asyncio.wait_for(bench.upstream("continue").cut.wait(), 5)


async def test_a_broken_answers_decision_tells_all_its_calls(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, freeze)
    bench.in_order(BREAKS, REST)
    await bench.stream()
    decision = bench.decision
    json.dumps(decision.shown())
    assert decision.chosen == decision.attempts[0].upstream != decision.attempts[1].upstream
    assert all(one.ttft_ms is not None and one.duration_ms >= one.ttft_ms for one in decision.attempts)
    assert (decision.tokens_out, decision.outcome) == (4, "done")
