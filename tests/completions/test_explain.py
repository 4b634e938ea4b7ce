"""What would be decided, asked beforehand: the same as is decided then, and nothing is changed by asking."""

from dataclasses import replace
from math import isnan
from typing import Any

import pytest

from citadel_edge.config.shape import Objective, StrategyName
from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.table import RowState
from citadel_edge.routing.decision import PREVIEW
from citadel_edge.telemetry.hub import Topic
from completions.bench import PRINCIPAL, Bench, OpenBench, model
from completions.scripted import SPOKEN, replies, says

every_strategy = pytest.mark.parametrize("strategy", list(StrategyName))


def counted(bench: Bench) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of every metric that is known, except when it was made."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in bench.registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created") and not isnan(sample.value)
    }


@every_strategy
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_it_is_what_happens_then(open_bench: OpenBench, strategy: StrategyName, *, stream: bool) -> None:
    answer = says(*SPOKEN) if stream else replies()
    drawn = strategy is StrategyName.PEAK_EWMA  # two of many by chance, which nobody can foresee
    bench = await open_bench(*[answer] * (2 if drawn else 3), strategy=strategy)
    bench.fleet.set_row("u1", weight=2.0, state=RowState.ACTIVE, source="test")
    body = {"stream": stream}
    for session in ("ada", "bob", None, "eve"):
        foreseen = bench.pipeline.explain(bench.call(body, session=session))
        client = await bench.whole(body, session=session)
        assert foreseen.chosen == client.headers["X-Citadel-Upstream"]
        assert (foreseen.model, foreseen.strategy) == ("m", strategy)


@every_strategy
async def test_nothing_is_taken_sent_recorded_or_counted(open_bench: OpenBench, strategy: StrategyName) -> None:
    bench = await open_bench(replies(), replies(), replies(), strategy=strategy)
    for _ in range(2):
        await bench.whole()
    before, rows, made = counted(bench), len(bench.ledger.rows), len(list(bench.pipeline.decisions.newest_first()))
    with bench.hub.subscribe([Topic.DECISIONS]):
        first = bench.pipeline.explain(bench.call())
        for _ in range(10):
            again = bench.pipeline.explain(bench.call())
            assert again.chosen == first.chosen, "asking moves nothing on"
    assert counted(bench) == before
    assert (len(bench.ledger.rows), len(bench.reports)) == (rows, rows)
    assert len(list(bench.pipeline.decisions.newest_first())) == made
    assert bench.in_flight() == 0
    assert sum(len(upstream.seen) for upstream in bench.upstreams) == 2


async def test_it_says_why(open_bench: OpenBench) -> None:
    models = (model("m", "u0", "u1", fallbacks=("n",)), model("n", "u2", usd=5.0))
    bench = await open_bench(replies(), replies(), replies(), models=models)
    bench.fleet.set_row("u0", weight=None, state=RowState.DRAINING, source="test")
    decision = bench.pipeline.explain(bench.call(optimize=Objective.COST))
    assert decision.outcome == PREVIEW
    assert (decision.chosen, decision.attempts, decision.cost_usd) == ("u1", (), 0.0)
    assert [(one.upstream, one.excluded is not None) for one in decision.candidates] == [("u0", True), ("u1", False)]
    assert decision.candidates[1].parts()
    assert [one.name for one in decision.considered] == ["m", "n"]
    assert decision.objective == "cost"
    assert decision.features is not None
    assert decision.estimate is not None
    assert decision.estimate.tokens_in > 0
    assert decision.estimate.cost_usd > 0
    assert decision.explained()["models"][1]["name"] == "n"


async def test_it_falls_back_as_the_request_would(open_bench: OpenBench) -> None:
    models = (model("m", "u0", fallbacks=("n",)), model("n", "u1", usd=5.0))
    bench = await open_bench(replies(), replies(), models=models, slots=1)
    bench.fleet.table.rows["u0"].in_flight = 1
    decision = bench.pipeline.explain(bench.call())
    assert (decision.model, decision.chosen) == ("n", "u1")
    assert [one.upstream for one in decision.candidates] == ["u0", "u1"]
    bench.fleet.table.rows["u1"].in_flight = 1
    nobody = bench.pipeline.explain(bench.call())
    assert (nobody.chosen, nobody.outcome) == (None, PREVIEW)
    assert {one.excluded.code for one in nobody.candidates if one.excluded} == {"full"}
    for row in bench.fleet.table.rows.values():
        row.in_flight = 0


@pytest.mark.parametrize("name", ["auto", "auto:cheap", "auto:best"])
async def test_the_choice_of_a_model_is_the_same_too(open_bench: OpenBench, name: str) -> None:
    models = (
        model("m", "u0", usd=1.0, skills={"chat": 0.4}),
        model("n", "u1", usd=9.0, skills={"chat": 0.9}),
    )
    bench = await open_bench(replies(), replies(), models=models)
    decision = bench.pipeline.explain(bench.call({"model": name}))
    client = await bench.whole({"model": name})
    assert client.headers["X-Citadel-Model"] == decision.model == ("n" if name == "auto:best" else decision.model)
    assert [facts(one) for one in decision.considered] == [facts(one) for one in bench.decision.considered]


def facts(score: Any) -> dict[str, Any]:
    return {name: getattr(score, name) for name in ("name", "score", "available", "excluded")}


@pytest.mark.parametrize(
    ("body", "models", "code"),
    [
        ({"model": "nobody"}, ("*",), Code.MODEL_NOT_FOUND),
        ({}, ("other",), Code.MODEL_NOT_ALLOWED),
        ({"messages": [{"role": "user", "content": "word " * 10_000}]}, ("*",), Code.CONTEXT_LENGTH_EXCEEDED),
    ],
)
async def test_what_is_refused_is_refused_alike(
    open_bench: OpenBench, body: dict[str, Any], models: tuple[str, ...], code: Code
) -> None:
    bench = await open_bench(replies())
    principal = replace(PRINCIPAL, models=models)
    with pytest.raises(RequestError) as foreseen:
        bench.pipeline.explain(bench.call(body, principal=principal))
    assert not bench.ledger.rows
    with pytest.raises(RequestError) as caught:
        await bench.whole(body, principal=principal)
    assert foreseen.value.code is caught.value.code is code
    assert foreseen.value.message == caught.value.message
