"""Answers in one piece, and what every request leaves behind."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.request import Kind
from citadel_edge.errors import Code, RequestError
from citadel_edge.telemetry.hub import Topic
from completions.bench import PRINCIPAL, Client, OpenBench
from completions.scripted import WHOLE, replies


async def test_the_answer_passes_unchanged_with_its_type(open_bench: OpenBench) -> None:
    raw = b' {"id":"x",  "unknown":[1.50,"\\u00e9"],"choices":[],"usage":{"prompt_tokens":1}}\n'
    bench = await open_bench(replies(raw=raw))
    client = await bench.whole()
    assert (client.status, client.text, client.finished) == (200, raw, 1)
    assert client.content_type.startswith("application/json")
    assert client.headers["Content-Length"] == str(len(raw))


async def test_the_answer_says_where_it_came_from(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    client = await bench.whole({"model": "alias"})
    assert client.headers["X-Citadel-Model"] == "m"
    assert client.headers["X-Citadel-Upstream"] == "u0"
    assert client.headers["X-Citadel-Attempts"] == "1"
    decision = bench.pipeline.decisions.get(client.headers["X-Citadel-Decision"])
    assert decision is not None
    assert (decision.asked, decision.model, decision.chosen, decision.outcome) == ("alias", "m", "u0", "done")
    assert [attempt.outcome for attempt in decision.attempts] == ["done"]


async def test_the_upstream_gets_its_own_key_and_name_and_nothing_of_the_clients(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    await bench.whole({"seed": 5, "x_unknown": {"deep": [1]}})
    (seen,) = bench.upstreams[0].seen
    assert seen.path == "/v1/chat/completions"
    assert seen.body == {
        "model": "engine/u0",
        "messages": [{"role": "user", "content": "hello"}],
        "seed": 5,
        "x_unknown": {"deep": [1]},
    }
    headers = {name.lower(): value for name, value in seen.headers.items()}
    assert headers["authorization"] == "Bearer secret-of-u0"
    assert headers["x-request-id"] == "req_1"
    assert headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert set(headers) == {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "authorization",
        "x-request-id",
        "traceparent",
    }


@pytest.mark.parametrize(
    ("kind", "body", "path"),
    [
        (Kind.COMPLETION, {"model": "m", "prompt": "hello"}, "/v1/completions"),
        (Kind.EMBEDDINGS, {"model": "m", "input": ["a", "b"]}, "/v1/embeddings"),
    ],
)
async def test_completions_and_embeddings_go_their_own_way(
    open_bench: OpenBench, kind: Kind, body: dict[str, Any], path: str
) -> None:
    bench = await open_bench(replies(body={"data": [], "usage": {"prompt_tokens": 4, "total_tokens": 4}}))
    await bench.whole(body, kind=kind)
    assert bench.upstreams[0].seen[0].path == path
    assert (bench.row.endpoint, bench.row.tokens_in, bench.row.tokens_out) == (path, 4, 0)


async def test_the_row_is_complete_and_written_before_the_last_byte(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    written_first: list[int] = []
    client = Client(before_write=lambda _: written_first.append(len(bench.ledger.rows)))
    report = await bench.pipeline.run(bench.call(), client)
    assert written_first == [1]
    row = bench.row
    assert (row.outcome, row.tokens_in, row.tokens_out, row.attempts) == (Outcome.DONE, 7, 2, 1)
    assert row.cost_usd == Decimal("0.000011")
    assert (row.user_id, row.organisation_id, row.key_id, row.tier) == ("usr_1", "org_1", "key_1", "free")
    assert (row.model, row.upstream, row.listener, row.request_id) == ("m", "u0", "routing-api", "req_1")
    assert row.decision_id == client.headers["X-Citadel-Decision"]
    assert row.event_id.version == 7
    assert row.ttft_ms is None
    assert row.duration_ms > 0
    assert bench.reports == [report]
    json.dumps(report.facts())


async def test_the_decision_is_told_on_the_hub(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(), replies())
    bench.fleet.suspect(bench.fleet.table.rows["u1"], "refused")
    with bench.hub.subscribe([Topic.DECISIONS]) as told:
        await bench.whole()
        message = await anext(told)
    payload = message.payload  # type: ignore[union-attr]
    json.dumps(payload)
    assert [one["upstream"] for one in payload["candidates"]] == ["u0", "u1"]
    assert payload["candidates"][1]["excluded"]["code"] == "unhealthy"
    assert payload["chosen"] == "u0"
    assert payload["outcome"] == "done"


async def test_metrics_count_the_request(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    for _ in range(3):
        await bench.whole()
    labels = {"listener": "routing-api", "model": "m"}
    decided = {**labels, "strategy": "adaptive", "upstream": "u0", "outcome": "done"}
    assert bench.metric("citadel_routing_decisions_total", **decided) == 3
    assert bench.metric("citadel_routing_tokens_total", **labels, direction="in") == 21
    assert bench.metric("citadel_routing_tokens_total", **labels, direction="out") == 6
    assert bench.metric("citadel_routing_decision_seconds_count", listener="routing-api") == 3
    assert bench.metric("citadel_upstream_in_flight", upstream="u0") == 0
    assert bench.metric("citadel_upstream_healthy", upstream="u0") == 1


async def test_an_unknown_model_is_an_error_row_and_no_decision(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    with pytest.raises(RequestError) as caught:
        await bench.whole({"model": "nobody"})
    assert caught.value.code is Code.MODEL_NOT_FOUND
    assert caught.value.headers == {}
    row = bench.row
    assert (row.outcome, row.model, row.upstream, row.attempts, row.cost_usd) == (Outcome.ERROR, "nobody", None, 0, 0)
    assert row.decision_id is None
    assert not bench.upstreams[0].seen
    labels = {"listener": "routing-api", "strategy": "adaptive", "upstream": "none", "outcome": "error"}
    assert bench.metric("citadel_routing_decisions_total", model="unknown", **labels) == 1


async def test_a_model_outside_the_tier_is_forbidden_and_recorded(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    with pytest.raises(RequestError) as caught:
        await bench.whole(principal=replace(PRINCIPAL, models=("other",)))
    assert caught.value.code is Code.MODEL_NOT_ALLOWED
    assert bench.row.outcome is Outcome.ERROR


async def test_without_room_in_the_ledger_nothing_is_begun(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    bench.ledger.full = RequestError(Code.OVERLOADED, "full")
    with pytest.raises(RequestError) as caught:
        await bench.whole()
    assert caught.value.code is Code.OVERLOADED
    assert not bench.ledger.rows
    assert not bench.upstreams[0].seen


async def test_an_engines_refusal_is_passed_on_in_openais_shape(open_bench: OpenBench) -> None:
    bench = await open_bench(
        replies(422, {"error": {"message": "bad schema", "param": "tools", "code": 422}}), replies()
    )
    client = await bench.whole()
    assert (client.status, client.content_type, client.finished) == (422, "application/json", 1)
    assert json.loads(client.text)["error"] == {
        "message": "bad schema",
        "type": "invalid_request_error",
        "param": "tools",
        "code": "invalid_request",
    }
    assert (bench.row.outcome, bench.row.tokens_in, bench.row.cost_usd) == (Outcome.ERROR, 0, 0)
    assert bench.reports[0].status == 422
    assert not bench.upstreams[1].seen
    assert bench.fleet.table.rows["u0"].breaker.failures == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_is_too_long_is_named_as_such(open_bench: OpenBench, *, stream: bool) -> None:
    words = "This model's maximum context length is 10 tokens"
    bench = await open_bench(replies(400, {"object": "error", "message": words, "code": 400}))
    with pytest.raises(RequestError) as caught:
        await bench.whole({"stream": stream})
    assert (caught.value.code, caught.value.param) == (Code.CONTEXT_LENGTH_EXCEEDED, "messages")
    assert words in caught.value.message
    assert caught.value.headers["X-Citadel-Upstream"] == "u0"
    assert bench.row.outcome is Outcome.ERROR


async def test_odd_fields_that_nobody_reads_are_no_fault(open_bench: OpenBench) -> None:
    odd = {**WHOLE, "id": 5, "created": "now", "usage": {"prompt_tokens": 7, "completion_tokens": None}}
    bench = await open_bench(replies(body=odd))
    assert json.loads((await bench.whole()).text) == odd
    assert (bench.row.outcome, bench.row.tokens_in, bench.row.tokens_out) == (Outcome.DONE, 7, 0)
    assert bench.fleet.table.rows["u0"].breaker.failures == 0


async def test_what_an_answer_takes_of_memory_is_held_before_it_is_sent(open_bench: OpenBench) -> None:
    big = json.dumps({**WHOLE, "padding": "x" * 2**20}).encode()
    bench = await open_bench(replies(raw=big))
    held: list[int] = []
    client = Client(before_write=lambda _: held.append(-1))
    await bench.pipeline.run(bench.call(hold=held.append), client)
    assert held.pop() == -1
    assert sum(held) == len(big)
    assert min(held) > 0


async def test_the_next_call_holds_only_what_the_one_before_did_not(open_bench: OpenBench) -> None:
    torn = b'{"padding": "' + b"x" * 1000
    bench = await open_bench(replies(raw=torn), replies())
    held: list[int] = []
    client = await bench.whole(hold=held.append)
    assert client.headers["X-Citadel-Attempts"] == "2"
    assert sum(held) == max(len(torn), len(client.text))


async def test_an_answer_too_large_to_be_held_is_overload_and_nobody_pays(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(raw=json.dumps({**WHOLE, "padding": "x" * 2**20}).encode()), replies())
    held = 0

    def hold(n_bytes: int) -> None:
        nonlocal held
        if held + n_bytes > 2**19:
            raise RequestError(Code.OVERLOADED, "full", retry_after_s=1)
        held += n_bytes

    client = Client()
    with pytest.raises(RequestError) as caught:
        await bench.pipeline.run(bench.call(hold=hold), client)
    assert caught.value.code is Code.OVERLOADED
    assert client.status is None
    assert 0 < held <= 2**19, "read no further than it may hold"
    assert (bench.row.outcome, bench.row.tokens_in, bench.row.tokens_out) == (Outcome.ERROR, 0, 0)
    assert (bench.reports[0].status, bench.reports[0].code) == (503, "overloaded")
    assert bench.fleet.table.rows["u0"].breaker.failures == 0
    assert not bench.upstreams[1].seen


@pytest.mark.parametrize("ours", [ZeroDivisionError("ours"), ConnectionResetError("ours, not the client's")])
async def test_a_fault_of_ours_is_an_error_that_nobody_pays(open_bench: OpenBench, ours: Exception) -> None:
    bench = await open_bench(replies())

    def fail(_: int) -> None:
        raise ours

    with pytest.raises(type(ours), match="ours"):
        await bench.whole(hold=fail)
    row, report = bench.row, bench.reports[0]
    assert (row.outcome, row.tokens_in, row.tokens_out, row.cost_usd) == (Outcome.ERROR, 0, 0, 0)
    assert (report.status, report.code) == (500, "internal")
    assert bench.in_flight() == 0
    assert bench.fleet.table.rows["u0"].breaker.failures == 0


async def test_a_large_answer_passes_and_a_larger_one_is_refused(open_bench: OpenBench) -> None:
    big = json.dumps({**WHOLE, "padding": "x" * (8 * 2**20)}).encode()
    huge = b'{"padding": "' + b"x" * (65 * 2**20) + b'"}'
    bench = await open_bench(replies(raw=big))
    assert (await bench.whole()).text == big
    bench = await open_bench(replies(raw=huge), retries=0)
    with pytest.raises(RequestError) as caught:
        await bench.whole()
    assert caught.value.code is Code.UPSTREAM_ERROR
    assert "malformed" in caught.value.message


async def test_a_reload_changes_models_and_prices_for_the_next_request(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    config = bench.config.value
    bench.config.replace(replace(config, models=(replace(config.models[0], name="renamed", aliases=()),)))
    with pytest.raises(RequestError):
        await bench.whole()
    assert (await bench.whole({"model": "renamed"})).headers["X-Citadel-Model"] == "renamed"
    assert [entry["id"] for entry in bench.pipeline.catalogue.entries(PRINCIPAL.may_use)][:2] == ["renamed", "auto"]
