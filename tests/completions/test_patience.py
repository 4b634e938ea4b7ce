"""A named model that is only full is waited for before its fallbacks are used; the dead are not, nor any for `auto`."""

import asyncio

import pytest

from citadel_edge.config.shape import ModelConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.table import RowState
from completions.bench import Bench, OpenBench, model
from completions.scripted import Answer, freeze, in_turn, replies

PATIENT = 20.0
LISTENER = {"listener": "routing-api"}


def pair() -> tuple[ModelConfig, ...]:
    return (model("m", "u0", fallbacks=("n",)), model("n", "u1", usd=5.0))


async def opened(open_bench: OpenBench, *answers: Answer, patience_s: float = PATIENT) -> Bench:
    answers = answers or (replies(), replies())
    return await open_bench(*answers, models=pair(), slots=1, capacity_wait_s=patience_s)


def fill(bench: Bench, upstream: str) -> None:
    bench.fleet.table.rows[upstream].in_flight = 1


def free(bench: Bench, upstream: str) -> None:
    bench.fleet.table.rows[upstream].in_flight = 0
    bench.fleet.set_row(upstream, weight=None, state=RowState.ACTIVE, source="test")  # which tells those that wait


async def waiting(bench: Bench, count: int) -> None:
    async with asyncio.timeout(10):
        while bench.waiting() != count:
            await asyncio.sleep(0.002)


async def test_a_model_that_is_full_for_a_moment_answers_itself(open_bench: OpenBench) -> None:
    bench = await opened(open_bench)
    fill(bench, "u0")
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.whole())
        await waiting(bench, 1)
        free(bench, "u0")
    assert call.result().headers["X-Citadel-Model"] == "m"
    assert bench.marks == [("first", "done")]
    assert not bench.upstreams[1].seen
    assert bench.metric("citadel_routing_fallbacks_total", **LISTENER, model="m", fallback="n") is None


async def test_after_half_of_the_patience_its_fallback_answers(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, patience_s=4.0)
    fill(bench, "u0")
    client = await asyncio.wait_for(bench.whole(), 20)
    free(bench, "u0")
    assert client.headers["X-Citadel-Model"] == "n"
    assert 1900 < bench.row.duration_ms < 4000
    assert bench.marks == [("fallback", "done")]
    assert bench.metric("citadel_routing_fallbacks_total", **LISTENER, model="m", fallback="n") == 1


async def test_half_of_the_clients_own_time_is_enough(open_bench: OpenBench) -> None:
    bench = await opened(open_bench)
    fill(bench, "u0")
    client = await bench.whole(deadline_s=4.0)
    free(bench, "u0")
    assert client.headers["X-Citadel-Model"] == "n"
    assert bench.row.duration_ms > 1900


async def test_one_that_says_it_is_full_for_longer_than_that_is_not_waited_for(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, replies(429, headers={"Retry-After": "15"}), replies())
    client = await asyncio.wait_for(bench.whole(), 8)
    assert client.headers["X-Citadel-Model"] == "n"
    assert bench.marks == [("first", "busy"), ("fallback", "done")]


async def test_one_that_says_it_is_full_for_a_moment_is_asked_again(open_bench: OpenBench) -> None:
    busy = replies(429, headers={"Retry-After": "0.2"})
    bench = await opened(open_bench, in_turn(busy, replies()), replies())
    assert (await bench.whole()).headers["X-Citadel-Model"] == "m"
    assert bench.marks == [("first", "busy"), ("retry", "done")]


@pytest.mark.parametrize("state", [RowState.DISABLED, RowState.DRAINING])
async def test_one_that_is_down_is_not_waited_for(open_bench: OpenBench, state: RowState) -> None:
    bench = await opened(open_bench)
    bench.fleet.set_row("u0", weight=None, state=state, source="test")
    assert (await asyncio.wait_for(bench.whole(), 8)).headers["X-Citadel-Model"] == "n"
    assert bench.marks == [("fallback", "done")]
    assert [(one.name, one.available) for one in bench.decision.considered] == [("m", False), ("n", True)]


async def test_one_that_failed_is_not_waited_for(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, replies(500), replies())
    assert (await asyncio.wait_for(bench.whole(), 8)).headers["X-Citadel-Model"] == "n"
    assert bench.marks == [("first", "status"), ("fallback", "done")]


async def test_who_leaves_the_choice_to_us_gets_the_next_at_once(open_bench: OpenBench) -> None:
    models = (model("m", "u0", skills={"chat": 0.9}), model("n", "u1", skills={"chat": 0.1}))
    bench = await open_bench(replies(), replies(), models=models, slots=1, capacity_wait_s=PATIENT)
    assert (await bench.whole({"model": "auto"})).headers["X-Citadel-Model"] == "m"
    fill(bench, "u0")
    client = await asyncio.wait_for(bench.whole({"model": "auto"}), 8)
    free(bench, "u0")
    assert client.headers["X-Citadel-Model"] == "n"
    assert [one.name for one in bench.decision.considered] == ["m", "n"], "to be full is not to be dead"
    assert bench.marks == [("first", "done")], "it is what was asked for"


async def test_who_has_waited_enough_is_not_held_up_by_those_before_it_who_have_not(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, freeze, replies())
    fill(bench, "u0")
    loop = asyncio.get_running_loop()
    first = loop.create_task(bench.whole())
    await waiting(bench, 1)
    second = loop.create_task(bench.whole(deadline_s=3.0))
    assert (await asyncio.wait_for(second, 10)).headers["X-Citadel-Model"] == "n"
    assert not first.done()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    free(bench, "u0")


async def test_who_has_waited_enough_waits_for_the_fallback_too(open_bench: OpenBench) -> None:
    bench = await opened(open_bench, patience_s=6.0)
    fill(bench, "u0")
    fill(bench, "u1")
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.whole())
        await waiting(bench, 1)
        await asyncio.sleep(3.3)
        assert not call.done()
        free(bench, "u1")
    free(bench, "u0")
    assert call.result().headers["X-Citadel-Model"] == "n"


async def test_a_preview_waits_too(open_bench: OpenBench) -> None:
    bench = await opened(open_bench)
    fill(bench, "u0")
    decision = bench.pipeline.explain(bench.call())
    free(bench, "u0")
    assert (decision.model, decision.chosen) == ("m", None)
    assert [one.excluded.code if one.excluded else None for one in decision.candidates] == ["full", None]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_prompt_too_long_for_every_replica_is_the_clients_to_shorten(
    open_bench: OpenBench, *, stream: bool
) -> None:
    bench = await open_bench(replies(), replies(), capacity_wait_s=PATIENT)
    for name in ("u0", "u1"):
        bench.fleet.table.rows[name].context_tokens[f"engine/{name}"] = 50
    with pytest.raises(RequestError) as caught:
        await asyncio.wait_for(
            bench.whole({"messages": [{"role": "user", "content": "word " * 100}], "stream": stream}), 8
        )
    assert (caught.value.code, caught.value.param) == (Code.CONTEXT_LENGTH_EXCEEDED, "messages")
    assert "u1: a prompt of about" in caught.value.message
    assert bench.in_flight() == 0
    assert (await bench.whole({"messages": [{"role": "user", "content": "word " * 40}]})).status == 200


async def test_one_replica_out_of_the_way_and_the_other_too_small_may_change(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(), replies())
    bench.fleet.table.rows["u0"].context_tokens["engine/u0"] = 50
    bench.fleet.set_row("u1", weight=None, state=RowState.DRAINING, source="test")
    with pytest.raises(RequestError) as caught:
        await bench.whole({"messages": [{"role": "user", "content": "word " * 100}]})
    assert caught.value.code is Code.NO_CAPACITY
