"""Streams: what passes, how they end, and that each ends once."""

import asyncio
import json

import pytest

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.pipeline import ClientGone, Pace
from citadel_edge.errors import Code, RequestError
from completions.bench import Client, OpenBench
from completions.scripted import (
    DONE,
    SPOKEN,
    Answer,
    chunk,
    event,
    freeze,
    in_turn,
    replies,
    reset,
    says,
    says_then,
    stall,
)

QUICK = Pace(begin_within_s=0.2, heartbeat_s=0.2)


def told_error(client: Client) -> dict[str, str]:
    """The one terminal of a stream that failed: an error in OpenAI's shape, no `[DONE]`, no made-up finish."""
    assert client.finished == 1
    last = client.events[-1]
    assert set(last) == {"error"}
    assert set(last["error"]) == {"message", "type", "code", "param"}
    assert "[DONE]" not in client.events
    assert not any("error" in one for one in client.events[:-1])
    assert b'"stop"' not in client.text
    error: dict[str, str] = last["error"]
    return error


async def test_a_stream_passes_without_the_usage_that_was_not_asked_for(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*SPOKEN))
    client = await bench.stream()
    assert client.text == b"".join(SPOKEN[:3]) + DONE
    assert (client.status, client.content_type, client.finished) == (200, "text/event-stream; charset=utf-8", 1)
    assert client.headers["X-Citadel-Upstream"] == "u0"
    assert bench.upstreams[0].seen[0].body["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
    }
    row = bench.row
    assert (row.outcome, row.tokens_in, row.tokens_out) == (Outcome.DONE, 7, 2)
    assert row.ttft_ms is not None
    assert 0 < row.ttft_ms <= row.duration_ms
    assert bench.metric("citadel_routing_time_to_first_token_seconds_count", listener="routing-api", model="m") == 1


async def test_a_client_that_asked_for_usage_gets_it(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*SPOKEN))
    client = await bench.stream({"stream_options": {"include_usage": True}})
    assert client.text == b"".join(SPOKEN)


async def test_the_row_is_written_before_the_terminal(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*SPOKEN, pause_s=0.01))
    rows: list[tuple[bytes, int]] = []
    client = Client(before_write=lambda data: rows.append((data, len(bench.ledger.rows))))
    await bench.pipeline.run(bench.call({"stream": True}), client)
    assert rows[-1][0].endswith(DONE)
    assert rows[-1][1] == 1
    assert {written for _, written in rows[:-1]} == {0}


async def test_tokens_arrive_one_by_one_as_they_come(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*[chunk(str(n)) for n in range(5)], chunk(finish="stop"), DONE, pause_s=0.1))
    client = await bench.stream()
    assert client.times[-1] - client.times[0] > 0.3
    assert len(client.parts) >= 5


async def test_without_usage_the_chunks_are_counted_and_the_prompt_is_estimated(open_bench: OpenBench) -> None:
    bench = await open_bench(
        in_turn(says(*SPOKEN), says(chunk("a"), chunk("b"), chunk("c"), chunk(finish="stop"), DONE))
    )
    await bench.stream()
    await bench.stream()
    assert [(row.tokens_in, row.tokens_out) for row in bench.ledger.rows] == [(7, 2), (7, 3)]


async def test_an_engine_that_closes_without_done_but_finished_is_done(open_bench: OpenBench) -> None:
    bench = await open_bench(says(chunk("a"), chunk(finish="length")))
    client = await bench.stream()
    assert client.events[-1] == "[DONE]"
    assert bench.row.outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (says(chunk("a"), chunk("b"), pause_s=0.1), "truncated"),
        (says(chunk("a"), chunk("b"), b"data: {", pause_s=0.1), "truncated"),
        (says(chunk("a"), chunk("b"), b"data: garbage\n\n", DONE, pause_s=0.1), "malformed"),
        (says(chunk("a"), chunk("b") + b"data: \xff\n\n", DONE, pause_s=0.1), "malformed"),
        (says_then(chunk("a"), chunk("b"), then=reset), "truncated"),
        (says_then(chunk("a"), chunk("b"), then=stall), "idle_timeout"),
    ],
    ids=["closed", "torn", "garbage", "utf8", "reset", "stalled"],
)
async def test_a_stream_that_breaks_ends_honestly(open_bench: OpenBench, answer: Answer, fault: str) -> None:
    bench = await open_bench(answer, replies(), idle_s=0.5)
    tools = [{"type": "function", "function": {"name": "f"}}]  # so that it cannot go on elsewhere
    client = await bench.stream({"tools": tools})
    error = told_error(client)
    assert "it offers tools" in error["message"]
    assert error["code"] == "upstream_error"
    assert fault in error["message"]
    assert [one["choices"][0]["delta"]["content"] for one in client.events[:-1]] == ["a", "b"]
    row = bench.row
    assert (row.outcome, row.tokens_out, row.attempts) == (Outcome.TRUNCATED, 2, 1)
    assert row.tokens_in > 0
    assert row.cost_usd > 0
    assert bench.fleet.table.rows["u0"].breaker.failures == 1
    assert not bench.upstreams[1].seen


async def test_an_engines_error_inside_the_stream_is_an_error(open_bench: OpenBench) -> None:
    bench = await open_bench(
        says(chunk("a"), event({"error": {"message": "CUDA died at 0x7f", "code": 500}}), DONE, pause_s=0.1), retries=0
    )
    client = await bench.stream()
    error = told_error(client)
    assert error["code"] == "upstream_error"
    assert "0x7f" not in error["message"]
    assert (bench.row.outcome, bench.row.tokens_out) == (Outcome.ERROR, 1)


@pytest.mark.parametrize(
    "bad",
    [
        says(event({"error": {"message": "no", "code": 500}})),
        says(chunk("a") + b"data: garbage\n\n"),
        says(),
        says(b"data: {", content_type="application/json"),
        says_then(then=reset),
        says_then(then=stall),
        says_then(b": ping\n\n", b": ping\n\n", then=stall),
        replies(),
        replies(500),
        freeze,
    ],
    ids=["error", "garbage", "empty", "json", "reset", "silent", "pinging", "whole", "500", "frozen"],
)
async def test_what_breaks_before_anything_was_sent_is_tried_elsewhere(open_bench: OpenBench, bad: Answer) -> None:
    bench = await open_bench(bad, says(*SPOKEN), first_token_s=0.5)
    client = await bench.stream()
    assert client.text == b"".join(SPOKEN[:3]) + DONE
    assert client.headers["X-Citadel-Attempts"] == "2"
    assert client.headers["X-Citadel-Upstream"] == "u1"
    assert (bench.row.outcome, bench.row.attempts, bench.row.upstream) == (Outcome.DONE, 2, "u1")


async def test_a_failure_before_the_status_is_the_answer(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, first_token_s=0.3)
    with pytest.raises(RequestError) as caught:
        await bench.stream()
    assert caught.value.code is Code.UPSTREAM_ERROR
    assert "first_token_timeout" in caught.value.message
    assert (bench.row.outcome, bench.row.tokens_in) == (Outcome.ERROR, 0)


async def test_a_refusal_of_a_stream_is_the_answer_with_its_own_status(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(422, {"error": {"message": "bad"}}))
    client = await bench.stream()
    assert (client.status, client.content_type) == (422, "application/json")
    assert json.loads(client.text)["error"]["message"] == "bad"


async def test_a_late_first_token_finds_the_stream_begun_and_kept_warm(open_bench: OpenBench) -> None:
    bench = await open_bench(says_then(then=lambda _: asyncio.sleep(0.9)), says(*SPOKEN), pace=QUICK)
    client = await bench.stream()
    assert client.text.startswith(b": ping\n: ping\n")
    assert client.headers["X-Citadel-Upstream"] == "u0"
    assert client.events[-1] == "[DONE]", "heartbeats are no part of the answer: it is tried elsewhere"
    assert bench.row.attempts == 2


async def test_an_upstream_that_withholds_its_headers_is_kept_warm_too(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, pace=QUICK, first_token_s=1.0)
    client = await bench.stream()
    assert client.status == 200
    assert client.text.count(b": ping\n") >= 3
    assert "first_token_timeout" in told_error(client)["message"]
    assert (bench.row.outcome, bench.row.cost_usd, bench.reports[0].status) == (Outcome.ERROR, 0, 200)


async def test_a_refusal_after_the_stream_was_begun_is_its_last_event(open_bench: OpenBench) -> None:
    async def late(request):
        await asyncio.sleep(0.6)
        return await replies(422, {"error": {"message": "bad"}})(request)

    bench = await open_bench(late, pace=QUICK)
    client = await bench.stream()
    assert client.status == 200
    assert told_error(client)["message"] == "bad"


async def test_silence_in_mid_answer_is_bridged_by_heartbeats(open_bench: OpenBench) -> None:
    bench = await open_bench(says(chunk("a"), chunk("b"), chunk(finish="stop"), DONE, pause_s=0.7), pace=QUICK)
    client = await bench.stream()
    assert client.text.count(b": ping\n") >= 4
    assert client.text.index(b'"a"') < client.text.index(b": ping\n")
    assert client.events[-1] == "[DONE]"


async def test_a_heartbeat_never_stands_beside_another_write(open_bench: OpenBench) -> None:
    bench = await open_bench(says(chunk("a"), chunk("b"), chunk(finish="stop"), DONE), pace=QUICK)
    client = Client(gate=asyncio.Event())
    async with asyncio.TaskGroup() as group:
        run = group.create_task(bench.pipeline.run(bench.call({"stream": True}), client))
        await client.wrote.wait()
        await asyncio.sleep(1.0)  # the client does not read: neither text nor heartbeats pile up
        assert len(client.parts) == 1
        assert client.gate is not None
        client.gate.set()
        await run
    assert client.events[-1] == "[DONE]"


async def test_a_slow_client_is_no_idle_upstream(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*SPOKEN, pause_s=0.05), idle_s=0.4)
    client = Client(gate=asyncio.Event())
    async with asyncio.TaskGroup() as group:
        run = group.create_task(bench.pipeline.run(bench.call({"stream": True}), client))
        await client.wrote.wait()
        await asyncio.sleep(1.0)
        assert client.gate is not None
        client.gate.set()
        await run
    assert bench.row.outcome is Outcome.DONE


async def test_the_clients_deadline_ends_a_stream_under_way(open_bench: OpenBench) -> None:
    bench = await open_bench(says_then(chunk("a"), then=stall))
    client = await bench.stream(deadline_s=0.6)
    error = told_error(client)
    assert (error["code"], error["type"]) == ("deadline_exceeded", "timeout_error")
    assert "X-Citadel-Timeout: 0.6 s" in error["message"]
    assert "mid-answer" in error["message"]
    assert bench.row.outcome is Outcome.TRUNCATED
    assert bench.fleet.table.rows["u0"].breaker.failures == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_the_clients_deadline_before_the_answer_is_504(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await open_bench(freeze, replies())
    with pytest.raises(RequestError) as caught:
        await bench.whole({"stream": stream}, deadline_s=0.3)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert "before the answer began" in caught.value.message
    assert bench.row.outcome is Outcome.ERROR
    assert bench.fleet.table.rows["u0"].breaker.failures == 0, "an impatient client is no replica's fault"
    await asyncio.wait_for(bench.upstreams[0].cut.wait(), 5)


async def test_the_last_call_gets_all_the_time_that_the_client_gave(open_bench: OpenBench) -> None:
    async def late(request):
        await asyncio.sleep(0.8)
        return await says(*SPOKEN)(request)

    bench = await open_bench(late, first_token_s=0.3)
    client = await bench.stream(deadline_s=20.0)
    assert client.events[-1] == "[DONE]"
    with pytest.raises(RequestError, match="first_token_timeout"):
        await bench.stream()


async def test_the_configured_total_ends_it_too_and_charges_the_silent(open_bench: OpenBench) -> None:
    bench = await open_bench(freeze, total_s=0.4)
    with pytest.raises(RequestError) as caught:
        await bench.whole()
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert "configured 0.4 s" in caught.value.message
    assert bench.fleet.table.rows["u0"].breaker.failures == 1


async def test_a_finished_streams_connection_is_kept(open_bench: OpenBench) -> None:
    ports: set[object] = set()

    async def counted(request):
        ports.add(request.transport.get_extra_info("peername"))
        return await says(*SPOKEN)(request)

    bench = await open_bench(counted)
    for _ in range(5):
        await bench.stream()
    assert len(ports) == 1


async def test_many_streams_at_once_share_the_replicas(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*SPOKEN, pause_s=0.01), says(*SPOKEN, pause_s=0.01))
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(bench.stream()) for _ in range(40)]
    assert all(run.result().events[-1] == "[DONE]" for run in runs)
    assert [len(upstream.seen) for upstream in bench.upstreams] == [20, 20]
    assert len(bench.ledger.rows) == 40
    assert len({row.event_id for row in bench.ledger.rows}) == 40


async def test_an_upstream_that_floods_does_not_starve_the_loop(open_bench: OpenBench) -> None:
    block = b"".join(chunk("x" * 50) for _ in range(200))
    bench = await open_bench(says(*[block] * 60, chunk(finish="stop"), DONE))
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        await bench.stream()
        watching.cancel()
    assert turns > 20
    assert bench.row.tokens_out == 12_000


async def test_an_upstream_that_lingers_after_its_terminal_does_not_hold_the_request(open_bench: OpenBench) -> None:
    bench = await open_bench(says_then(*SPOKEN, then=stall))
    async with asyncio.timeout(10):
        client = await bench.stream()
    assert client.events[-1] == "[DONE]"
    assert client.finished == 1
    assert bench.row.outcome is Outcome.DONE
    await asyncio.wait_for(bench.upstreams[0].cut.wait(), 5)


async def test_odd_fields_that_nobody_reads_are_no_fault(open_bench: OpenBench) -> None:
    parts = {"index": None, "delta": {"content": [{"type": "text", "text": "a"}], "reasoning": {"text": "hm"}}}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": None}
    pieces = [
        event({"id": 5, "created": "now", "choices": [parts]}),
        chunk(finish="stop"),
        event({"id": 5, "choices": None, "usage": usage}),
        DONE,
    ]
    bench = await open_bench(says(*pieces))
    client = await bench.stream()
    assert client.text == pieces[0] + pieces[1] + DONE
    assert (bench.row.outcome, bench.row.tokens_in, bench.row.tokens_out) == (Outcome.DONE, 7, 2)
    assert bench.row.ttft_ms is not None
    assert bench.fleet.table.rows["u0"].breaker.failures == 0


async def test_a_fault_of_ours_in_mid_stream_is_an_error(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*[chunk("x")] * 1000, pause_s=0.01))

    def fail(_: bytes) -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError):
        await bench.pipeline.run(bench.call({"stream": True}), Client(before_write=fail))
    assert bench.row.outcome is Outcome.ERROR
    assert bench.reports[0].code == "internal"
    assert bench.in_flight() == 0


async def test_the_last_words_to_a_client_that_does_not_read_are_bounded(open_bench: OpenBench) -> None:
    bench = await open_bench(says_then(chunk("a"), chunk("b"), then=reset), pace=Pace(last_words_s=0.2))
    client = Client()

    def shut(data: bytes) -> None:
        if b"error" in data:
            client.gate = asyncio.Event()

    client.before_write = shut
    with pytest.raises(ClientGone, match="does not read"):
        await bench.pipeline.run(bench.call({"stream": True}), client)
    assert bench.row.outcome is Outcome.TRUNCATED
