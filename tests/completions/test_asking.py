"""What a request asks of a replica is its model's own matter."""

from collections.abc import Callable

import pytest
from aiohttp import web

from citadel_edge.completions.request import Kind
from citadel_edge.config.shape import Capability, StrategyName
from citadel_edge.errors import Code, RequestError
from completions.bench import Bench, Client, OpenBench, model
from completions.scripted import Answer, replies

LONG = {"messages": [{"role": "user", "content": "word " * 400}]}


async def two(open_bench: OpenBench, *answers: Answer, **routing: object) -> Bench:
    models = (
        model("m", "u0", skills={"chat": 0.9}, fallbacks=("n",)),
        model("n", "u1", "u2", skills={"chat": 0.1}),
    )
    bench = await open_bench(*(answers or (replies(), replies(), replies())), models=models, **routing)
    teach(bench, "m", bytes_per_token=8, answer=40)
    teach(bench, "n", bytes_per_token=2, answer=400)
    return bench


def teach(bench: Bench, name: str, *, bytes_per_token: int, answer: int) -> None:
    for _ in range(200):
        bench.pipeline.asking.ratios.observe(name, prompt_bytes=8000, tokens=8000 // bytes_per_token)
        bench.pipeline.asking.lengths.observe(name, max_tokens=None, tokens=answer)


async def test_auto_is_estimated_by_the_model_that_is_chosen(open_bench: OpenBench) -> None:
    bench = await two(open_bench)
    named = bench.pipeline.explain(bench.call(LONG)).estimate
    ours = bench.pipeline.explain(bench.call({**LONG, "model": "auto"}))
    assert ours.model == "m"
    assert named is not None
    assert ours.estimate is not None
    assert (ours.estimate.tokens_in, ours.estimate.tokens_out) == (named.tokens_in, named.tokens_out)
    assert ours.estimate.cost_usd == named.cost_usd
    assert 230 < named.tokens_in < 280
    assert 35 < named.tokens_out < 60


async def test_models_are_weighed_by_their_own_ratios(open_bench: OpenBench) -> None:
    bench = await two(open_bench)
    costs = {one.name: one.cost_usd for one in bench.pipeline.explain(bench.call({**LONG, "model": "auto"})).considered}
    assert costs["n"] > 3 * costs["m"]


async def test_a_fallback_is_asked_by_its_own_measure(open_bench: OpenBench) -> None:
    bench = await two(open_bench, replies(500), replies(), replies(), strategy=StrategyName.PREFIX)
    row = bench.fleet.table.rows
    taken = []

    def watch() -> None:
        taken.extend((name, one.prefilling_tokens, one.reserved_tokens) for name, one in row.items() if one.in_flight)

    for upstream in bench.upstreams:
        upstream.answer = watched(upstream.answer, watch)
    await bench.whole(LONG)
    (first, prompt, whole), (_, own_prompt, own_whole) = taken
    assert first == "u0"
    assert own_prompt > 3 * prompt
    assert own_whole - own_prompt > 3 * (whole - prompt)
    assert bench.decision.estimate is not None
    assert bench.decision.estimate.tokens_in == prompt, "what was expected of the first choice"
    known = bench.pipeline.explain(bench.call({**LONG, "model": "n"}))
    new = [one.parts()["new_tokens"] for one in known.candidates]
    assert min(new) < max(new) / 2, "the fallback's cache is known"


def watched(answer: Answer, watch: Callable[[], None]) -> Answer:
    async def told(request: web.Request) -> web.StreamResponse:
        watch()
        return await answer(request)

    return told


async def test_of_several_inputs_the_largest_is_what_a_replica_must_hold(open_bench: OpenBench) -> None:
    models = (model("m", "u0", capabilities=(Capability.EMBEDDINGS,)),)
    bench = await open_bench(replies(), models=models)
    bench.fleet.table.rows["u0"].context_tokens["engine/u0"] = 100
    many = bench.pipeline.explain(bench.call({"model": "m", "input": ["word " * 20] * 50}, kind=Kind.EMBEDDINGS))
    assert many.chosen == "u0"
    one = bench.call({"model": "m", "input": ["word " * 20, "word " * 200]}, kind=Kind.EMBEDDINGS)
    with pytest.raises(RequestError) as caught:
        await bench.pipeline.run(one, Client())
    with pytest.raises(RequestError) as foreseen:
        bench.pipeline.explain(one)
    for error in (caught.value, foreseen.value):
        assert (error.code, error.param) == (Code.CONTEXT_LENGTH_EXCEEDED, "input")


async def test_a_replica_with_more_room_than_another_is_room_enough(open_bench: OpenBench) -> None:
    bench = await two(open_bench)
    for name, tokens in (("u1", 100), ("u2", 100_000)):
        bench.fleet.table.rows[name].context_tokens[f"engine/{name}"] = tokens
    decision = bench.pipeline.explain(bench.call({**LONG, "model": "n"}))
    assert decision.chosen == "u2"
    assert [one.excluded.code if one.excluded else None for one in decision.candidates] == ["context", None]
