"""What a request is charged, what is kept of its decision, and how many calls may be made again."""

import asyncio
from decimal import Decimal

import pytest

from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.config.shape import StrategyName
from citadel_edge.errors import RequestError
from citadel_edge.routing.candidates import PARTS
from citadel_edge.routing.retry_budget import RetryBudget
from completions.bench import Bench, Client, OpenBench, model
from completions.scripted import SPOKEN, chunk, replies, reset, says, says_then, stall, usage_chunk

LISTENER = {"listener": "routing-api"}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def priced(row: UsageEvent, usd: str = "1") -> Decimal:
    """What so many tokens cost at a price a million prompt tokens."""
    return Decimal(usd) * (row.tokens_in + 2 * row.tokens_out) / 1_000_000


async def test_an_answer_costs_what_the_engine_counted(open_bench: OpenBench) -> None:
    bench = await open_bench(replies())
    await bench.whole()
    assert bench.row.cost_usd == priced(bench.row) == Decimal("0.000011")
    assert bench.decision.cost_usd == float(bench.row.cost_usd)


async def test_an_answer_that_broke_off_costs_what_arrived(open_bench: OpenBench) -> None:
    bench = await open_bench(says_then(usage_chunk(7, 0), chunk("a"), chunk("b"), then=reset))
    await bench.stream({"tools": TOOLS})
    row = bench.row
    assert (row.outcome, row.tokens_in, row.tokens_out) == (Outcome.TRUNCATED, 7, 2)
    assert row.cost_usd == priced(row) == Decimal("0.000011")


async def test_an_answer_that_was_left_costs_what_was_made(open_bench: OpenBench) -> None:
    bench = await open_bench(says_then(chunk("a"), chunk("b"), then=stall))
    client = Client()
    task = asyncio.get_running_loop().create_task(bench.pipeline.run(bench.call({"stream": True}), client))
    while client.text.count(b"data: ") < 2:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = bench.row
    assert (row.outcome, row.tokens_out) == (Outcome.CANCELLED, 2)
    assert row.cost_usd == priced(row) > 0


async def test_without_a_price_the_gpus_hour_is_what_tokens_cost(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*SPOKEN, pause_s=0.02), models=(model("m", "u0", usd=0.0),), gpu_hour_usd=3.6)
    foreseen = bench.pipeline.explain(bench.call()).estimate
    assert foreseen is not None
    assert foreseen.cost_usd > 0
    await bench.stream()
    a_token = 0.001 / 30  # a thousandth of a dollar a second, thirty tokens a second while nothing is known
    assert 0 < bench.row.cost_usd < Decimal(2 * 50 * a_token)
    bench = await open_bench(replies(), gpu_hour_usd=3.6)
    await bench.whole()
    assert bench.row.cost_usd == priced(bench.row), "the operator's price goes first"


async def test_without_price_and_gpu_nothing_is_charged(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(), models=(model("m", "u0", usd=0.0),))
    await bench.whole()
    assert bench.row.cost_usd == 0


async def test_a_decision_tells_all_that_led_to_it(open_bench: OpenBench) -> None:
    models = (model("m", "u0", "u1", fallbacks=("n",)), model("n", "u2"))
    bench = await open_bench(replies(), replies(), replies(), models=models)
    bench.in_order(replies(), replies(), replies(500), replies())
    for _ in range(4):
        await bench.whole()
    decisions = list(bench.pipeline.decisions.newest_first())
    for decision in decisions:
        assert [one.upstream for one in decision.candidates] == ["u0", "u1"]
        chosen = next(one for one in decision.candidates if one.upstream == decision.chosen)
        assert set(chosen.parts()) == set(PARTS)
        assert chosen.score == min(one.score for one in decision.candidates if one.score is not None)
        assert [one.name for one in decision.considered] == ["m", "n"]
        assert decision.features is not None
        assert decision.features.tokens_in == decision.estimate.tokens_in  # type: ignore[union-attr]
        assert decision.estimate is not None
        assert decision.estimate.cost_usd > 0
        assert (decision.outcome, decision.strategy) == ("done", StrategyName.ADAPTIVE)
        assert all(one.duration_ms > 0 and one.model == "m" for one in decision.attempts)
    assert decisions[0].estimate.total_s is not None  # type: ignore[union-attr]
    assert sum(len(one.attempts) for one in decisions) == 5


async def test_how_right_predictions_were_is_counted(open_bench: OpenBench) -> None:
    bench = await open_bench(says(*SPOKEN, pause_s=0.01))
    for _ in range(3):
        await bench.stream()
    ratio = "citadel_routing_prediction_ratio_count"
    assert bench.metric(ratio, model="m", quantity="tokens_out") == 3
    assert bench.metric(ratio, model="m", quantity="ttft") == 2, "of the first nothing was known"


async def failed(bench: Bench) -> bool:
    try:
        await bench.whole()
    except RequestError:
        return True
    return False


async def test_a_fleet_that_fails_everything_is_not_asked_twice_for_ever(open_bench: OpenBench) -> None:
    bench = await open_bench(*[replies(500)] * 4, retries=2)
    requests = 25
    bench.pipeline._upstreams._budget = RetryBudget(per_second=1.0)  # a smaller reserve, sooner used up
    assert all(await asyncio.gather(*[failed(bench) for _ in range(requests)]))
    retries = sum(len(upstream.seen) for upstream in bench.upstreams) - requests
    assert retries == 10 + requests // 5, "a reserve, and one for every five requests"
    bench.in_order(replies(500), replies())
    assert await failed(bench), "no retry is left even for one"


async def test_single_failures_are_made_good_all_the_time(open_bench: OpenBench) -> None:
    bench = await open_bench(replies(), replies(), replies())
    for _ in range(30):
        bench.in_order(replies(500), replies())
        assert not await failed(bench)
        for row in bench.fleet.table.rows.values():
            row.breaker.reset("test")
    assert bench.metric("citadel_routing_retries_total", **LISTENER, model="m", fault="status") == 30
