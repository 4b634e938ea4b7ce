"""Other models answer where the one that was asked for cannot: in which order, at what price, and for what not."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.config.shape import Capability, ModelConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.table import RowState
from completions.bench import PRINCIPAL, Bench, OpenBench, model
from completions.scripted import DONE, SPOKEN, Answer, chunk, freeze, replies, reset, says, says_then

LISTENER = {"listener": "routing-api"}
TOO_LONG = replies(400, {"error": {"message": "This model's maximum context length is 4096 tokens"}})
both_kinds = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def chain(*replicas: int, **changes: ModelConfig) -> tuple[ModelConfig, ...]:
    """Models `m`, `n`, `o`, … with so many replicas each, each dearer than the one before, all fallbacks of `m`."""
    names, first = "mnopq"[: len(replicas)], 0
    models = []
    for at, (name, count) in enumerate(zip(names, replicas, strict=True)):
        places = [f"u{first + one}" for one in range(count)]
        fallbacks = tuple(names[1:]) if name == "m" else ()
        made = model(name, *places, usd=10.0**at, fallbacks=fallbacks)
        models.append(replace(made, **changes.get(name, {})))
        first += count
    return tuple(models)


def good(*, stream: bool) -> Answer:
    return says(*SPOKEN) if stream else replies()


async def opened(open_bench: OpenBench, models: tuple[ModelConfig, ...], *answers: Answer, **rest: object) -> Bench:
    return await open_bench(*answers, models=models, **rest)


@both_kinds
@pytest.mark.parametrize("bad", [replies(500), replies(429), replies(404)], ids=["500", "429", "404"])
async def test_the_next_model_answers_at_its_own_price(open_bench: OpenBench, *, stream: bool, bad: Answer) -> None:
    bench = await opened(open_bench, chain(1, 1, 1), bad, good(stream=stream), freeze)
    client = await bench.whole({"stream": stream})
    assert client.headers["X-Citadel-Model"] == "n"
    assert client.headers["X-Citadel-Upstream"] == "u1"
    row = bench.row
    assert (row.model, row.upstream, row.attempts, row.outcome) == ("n", "u1", 2, Outcome.DONE)
    assert row.cost_usd == Decimal("0.00011"), "ten times what `m` costs"
    assert [(mark, one.model) for (mark, _), one in zip(bench.marks, bench.decision.attempts, strict=True)] == [
        ("first", "m"),
        ("fallback", "n"),
    ]
    assert (bench.decision.asked, bench.decision.model) == ("m", "n")
    assert bench.metric("citadel_routing_fallbacks_total", **LISTENER, model="m", fallback="n") == 1
    assert bench.upstreams[1].seen[0].body["model"] == "engine/u1"
    assert bench.metric("citadel_routing_tokens_total", **LISTENER, model="n", direction="out") == 2


async def test_fallbacks_are_asked_in_the_operators_order(open_bench: OpenBench) -> None:
    models = chain(1, 1, 1)
    models = (replace(models[0], fallbacks=("o", "n")), *models[1:])
    bench = await opened(open_bench, models, replies(500), replies(), replies(500))
    assert (await bench.whole()).headers["X-Citadel-Model"] == "n"
    assert [one.model for one in bench.decision.attempts] == ["m", "o", "n"]
    assert [mark for mark, _ in bench.marks] == ["first", "fallback", "fallback"]


async def test_each_model_has_its_own_retries(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, chain(3, 3), *[replies(500)] * 5, replies(), retries=1)
    with pytest.raises(RequestError) as caught:
        await bench.whole()
    assert [(mark, one.model) for (mark, _), one in zip(bench.marks, bench.decision.attempts, strict=True)] == [
        ("first", "m"),
        ("retry", "m"),
        ("fallback", "n"),
        ("retry", "n"),
    ]
    assert caught.value.code is Code.UPSTREAM_ERROR
    assert caught.value.message.count("status 500") == 4


async def test_a_model_that_is_full_is_left_for_its_fallback_where_nobody_may_wait(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, chain(1, 1), replies(), replies(), slots=1)
    row = bench.fleet.table.rows["u0"]
    row.in_flight = 1
    client = await bench.whole()
    row.in_flight = 0
    assert client.headers["X-Citadel-Model"] == "n"
    assert bench.marks == [("fallback", "done")]
    assert bench.metric("citadel_routing_fallbacks_total", **LISTENER, model="m", fallback="n") == 1
    assert [one.name for one in bench.decision.considered] == ["m", "n"]


async def test_a_model_without_a_replica_is_no_obstacle(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, chain(1, 1), replies(), replies())
    bench.fleet.set_row("u0", weight=None, state=RowState.DISABLED, source="test")
    assert (await bench.whole()).headers["X-Citadel-Model"] == "n"
    assert [(one.name, one.available) for one in bench.decision.considered] == [("m", False), ("n", True)]


async def test_a_fallback_must_hold_the_prompt(open_bench: OpenBench) -> None:
    models = chain(1, 1, 1, m={"context_tokens": 4000}, n={"context_tokens": 100}, o={"context_tokens": 4000})
    bench = await opened(open_bench, models, replies(500), replies(), replies())
    client = await bench.whole({"messages": [{"role": "user", "content": "word " * 400}]})
    assert client.headers["X-Citadel-Model"] == "o"
    considered = {one.name: one.excluded for one in bench.decision.considered}
    assert considered["n"] is not None
    assert "context is 100 tokens" in considered["n"].reason


async def test_a_fallback_must_be_allowed_and_able(open_bench: OpenBench) -> None:
    models = chain(1, 1, 1, o={"capabilities": (Capability.TOOLS,)})
    tools = [{"type": "function", "function": {"name": "f"}}]
    bench = await opened(open_bench, models, replies(500), replies(), replies())
    assert (await bench.whole({"tools": tools})).headers["X-Citadel-Model"] == "o"
    with pytest.raises(RequestError) as caught:
        await bench.whole(principal=replace(PRINCIPAL, models=("m",)))
    assert caught.value.code is Code.UPSTREAM_ERROR
    assert [one.excluded.code for one in bench.decision.considered if one.excluded] == ["not_allowed", "not_allowed"]


@both_kinds
async def test_the_requests_own_fault_is_no_other_models_business(open_bench: OpenBench, *, stream: bool) -> None:
    bench = await opened(open_bench, chain(1, 1), replies(422, {"error": {"message": "bad"}}), good(stream=stream))
    client = await bench.whole({"stream": stream})
    assert (client.status, json.loads(client.text)["error"]["message"]) == (422, "bad")
    assert not bench.upstreams[1].seen


@both_kinds
async def test_a_prompt_too_long_goes_only_to_a_model_of_more_context(open_bench: OpenBench, *, stream: bool) -> None:
    models = chain(1, 1, 1, n={"context_tokens": 4096}, o={"context_tokens": 8192})
    bench = await opened(open_bench, models, TOO_LONG, good(stream=stream), good(stream=stream))
    client = await bench.whole({"stream": stream})
    assert client.headers["X-Citadel-Model"] == "o"
    assert not bench.upstreams[1].seen
    assert [mark for mark, _ in bench.marks] == ["first", "fallback"]
    bench = await opened(open_bench, chain(1, 1), TOO_LONG, good(stream=stream))
    with pytest.raises(RequestError) as caught:
        await bench.whole({"stream": stream})
    assert caught.value.code is Code.CONTEXT_LENGTH_EXCEEDED


async def test_an_answer_that_goes_on_stays_with_its_model(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, chain(1, 1), says_then(chunk("a"), then=reset), says(*SPOKEN))
    client = await bench.stream()
    assert client.events[-1]["error"]["code"] == "upstream_error"
    assert "Nobody was left to go on" in client.events[-1]["error"]["message"]
    assert DONE not in client.text
    assert bench.row.outcome is Outcome.TRUNCATED
    assert not bench.upstreams[1].seen


async def test_when_all_models_fail_the_client_hears_of_all(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, chain(1, 1), replies(500), replies(502))
    with pytest.raises(RequestError) as caught:
        await bench.whole()
    assert "u0: status 500" in caught.value.message
    assert "u1: status 502" in caught.value.message
    assert (bench.row.cost_usd, bench.row.attempts) == (0, 3)


async def test_what_was_expected_is_told_at_the_price_of_the_first_choice(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, chain(1, 1), replies(500), replies())
    foreseen = bench.pipeline.explain(bench.call()).estimate
    await bench.whole()
    assert foreseen is not None
    assert bench.decision.estimate is not None
    assert bench.decision.estimate.cost_usd == pytest.approx(foreseen.cost_usd)
