"""Limits on the data plane: a denial costs no engine any work, and what is charged is what was generated."""

import asyncio
import contextlib
import random

import openai
import pytest

from citadel_edge.config.limits import LimitsConfig
from citadel_edge.config.shape import (
    DeploymentConfig,
    ListenerName,
    ModelConfig,
    PriceConfig,
    TierConfig,
)
from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.timing import Timing
from conversations import CHAT, ask, stream
from edges import MODEL, serving
from servers import own_valkey  # noqa: F401

BRIEF = SimulatorOptions(shortest=8, longest=8)


def tier(**limits):
    return {"tiers": (TierConfig(name="free", **limits),)}


async def held(served):
    """Requests that the demo user is held to have under way."""
    _, answer, _ = await ask(served, served.chat(model="auto"), path="/v1/route")
    (one,) = (one for one in answer["limits"]["standings"] if one["name"] == "concurrent")
    return one["limit"] - one["remaining"]


async def left(served, name):
    """What remains to the demo user of a limit, as the quota page says."""
    url = served.url("/v1/users/me/quota", ListenerName.RATE_LIMITING)
    async with served.client.get(url, headers=served.as_user()) as answer:
        assert answer.status == 200, await answer.text()
        (one,) = (one for one in (await answer.json())["limits"] if one["name"] == name)
        return one["remaining"]


async def test_a_denial_costs_no_engine_any_work_and_says_when_to_come_again(edge_with):
    async with edge_with(options=(BRIEF,), changes=tier(requests_per_minute=2)) as served:
        status, _, headers = await ask(served, served.chat())
        assert status == 200
        assert headers["RateLimit-Policy"] == '"rpm";q=2;w=60'
        assert headers["x-ratelimit-limit-requests"] == "2"
        status, answer, headers = await ask(served, served.chat())
        assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 25 <= int(headers["Retry-After"]) <= 30
        assert headers["RateLimit"].startswith('"rpm";r=0;t=')
        assert "X-Citadel-Decision" not in headers
        assert served.simulators[0].stats.started == 1
        rows = await served.rows()
        assert {(row["outcome"], row["attempts"], row["tokens_in"] > 0) for row in rows} == {
            ("done", 1, True),
            ("denied", 0, False),
        }
        assert {row["outcome"]: row["decision_id"] is None for row in rows} == {"done": False, "denied": True}


async def test_streams_and_both_doors_are_under_the_same_limits(edge_with):
    async with edge_with(options=(BRIEF,), changes=tier(requests_per_minute=10, burst=0.2)) as served:
        heard = await stream(served, served.chat())
        assert heard.headers["x-ratelimit-remaining-requests"] == "1"
        heard = await stream(served, served.chat(), listener=ListenerName.STREAMING)
        assert heard.headers["x-ratelimit-remaining-requests"] == "0"
        async with served.client.post(
            served.url(CHAT, ListenerName.STREAMING), json=served.chat(), headers=served.as_user()
        ) as answer:
            assert answer.status == 429
            assert (await answer.json())["error"]["code"] == "rate_limit_exceeded"


async def test_the_sdk_raises_its_own_error_for_a_denial(edge_with):
    async with edge_with(options=(BRIEF,), changes=tier(tokens_per_day=0)) as served:
        url = served.url("/v1")
        async with openai.AsyncOpenAI(base_url=url, api_key=served.keys.demo_key, max_retries=0) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model=MODEL, messages=served.chat()["messages"])
        assert caught.value.code == "insufficient_quota"


async def test_what_can_never_be_granted_is_the_request_s_own_mistake(edge_with):
    async with edge_with(options=(BRIEF,), changes=tier(tokens_per_minute=100)) as served:
        status, answer, _ = await ask(served, served.chat(max_tokens=200))
        assert (status, answer["error"]["code"]) == (400, "request_too_large")
        assert served.simulators[0].stats.started == 0
        status, _, headers = await ask(served, served.chat())
        assert status == 200, "who sets no bound reserves no more than the limit holds"
        assert int(headers["x-ratelimit-remaining-tokens"]) < 100


async def test_what_was_reserved_too_much_is_given_back(edge_with):
    async with edge_with(options=(BRIEF,), changes=tier(tokens_per_day=1000, usd_per_month=1.0)) as served:
        status, answer, _ = await ask(served, served.chat(max_tokens=500))
        assert status == 200
        used = answer["usage"]["total_tokens"]
        await asyncio.sleep(0.05)
        (row,) = await served.rows()
        assert await left(served, "tokens_per_day") == 1000 - used
        assert await left(served, "usd_per_month") == pytest.approx(1.0 - float(row["cost_usd"]), abs=1e-9)


async def test_a_redis_that_lost_its_memory_is_told_by_the_ledger_what_was_used(own_valkey, migrated_dsn, tmp_path):  # noqa: F811
    changes = tier(tokens_per_day=1000)
    async with serving(dsn=migrated_dsn, redis_url=own_valkey.url, data_dir=tmp_path, changes=changes) as served:
        for _ in range(3):
            assert (await ask(served, served.chat(max_tokens=50)))[0] == 200
        used = sum(row["tokens_in"] + row["tokens_out"] for row in await served.rows())
        assert await left(served, "tokens_per_day") == 1000 - used
        await asyncio.to_thread(own_valkey.stop)
        await asyncio.to_thread(own_valkey.start)
        async with asyncio.timeout(20):
            while served.edge.limiter.degraded:
                await asyncio.sleep(0.05)
            for _ in range(3):
                assert (await ask(served, served.chat(max_tokens=1)))[0] == 200
            while await left(served, "tokens_per_day") > 1000 - used:
                await asyncio.sleep(0.1)


async def test_one_at_a_time_is_one_at_a_time_and_the_place_comes_free(edge_with):
    slow = SimulatorOptions(shortest=40, longest=40, timing=Timing(decode_ms=10))
    async with edge_with(options=(slow,), changes=tier(concurrent=1)) as served:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(ask(served, served.chat()))
            await served.simulators[0].until(lambda stats: len(stats.active) == 1)
            status, answer, headers = await ask(served, served.chat())
            assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
            assert headers["Retry-After"] == "1"
        assert first.result()[0] == 200
        assert (await ask(served, served.chat()))[0] == 200


def models_of(*names, price=None):
    """The first on the first replica alone, with all others, on the second, as its fallbacks."""
    place = (DeploymentConfig(upstream="sim-1", model=MODEL),)
    first = ModelConfig(
        name=names[0], deployments=(DeploymentConfig(upstream="sim-0", model=MODEL),), fallbacks=names[1:]
    )
    return (first, *(ModelConfig(name=name, deployments=place, price=price or PriceConfig()) for name in names[1:]))


async def test_a_fallback_under_a_limit_of_its_own_that_is_used_up_is_out(edge_with):
    limited = TierConfig(name="free", concurrent=5, by_model={"second": LimitsConfig(tokens_per_day=0)})
    changes = {"models": models_of("first", "second", "third"), "tiers": (limited,)}
    async with edge_with(options=(BRIEF, BRIEF), changes=changes) as served:
        await served.simulators[0].kill()
        status, _, headers = await ask(served, served.chat(model="first"))
        assert (status, headers["X-Citadel-Model"]) == (200, "third")
        assert await held(served) == 0


async def test_a_fallback_is_charged_to_its_own_limits_and_not_to_the_first_model_s(edge_with):
    limited = TierConfig(name="free", by_model=dict.fromkeys(("first", "second"), LimitsConfig(tokens_per_day=5000)))
    changes = {"models": models_of("first", "second"), "tiers": (limited,)}
    async with edge_with(options=(BRIEF, BRIEF), changes=changes) as served:
        await served.simulators[0].kill()
        status, answer, headers = await ask(served, served.chat(model="first"))
        assert (status, headers["X-Citadel-Model"]) == (200, "second")
        await asyncio.sleep(0.05)
        used = {}
        for model in ("first", "second"):
            _, told, _ = await ask(served, served.chat(model=model), path="/v1/route")
            (one,) = told["limits"]["standings"]
            used[model] = one["limit"] - one["remaining"]
        assert used == {"first": 0, "second": answer["usage"]["total_tokens"]}


async def test_a_dry_run_says_how_the_limits_stand_and_takes_nothing(edge_with):
    async with edge_with(options=(BRIEF,), changes=tier(requests_per_minute=1)) as served:
        for _ in range(3):
            status, answer, _ = await ask(served, served.chat(), path="/v1/route")
            assert (status, answer["limits"]["allowed"]) == (200, True)
        assert (await ask(served, served.chat()))[0] == 200
        _, answer, _ = await ask(served, served.chat(), path="/v1/route")
        assert answer["limits"]["allowed"] is False
        assert answer["chosen"] == "sim-0"


async def test_of_auto_only_what_the_month_s_dollars_allow(edge_with):
    async with edge_with(options=(BRIEF,), changes=tier(usd_per_month=0.000001)) as served:
        status, answer, _ = await ask(served, served.chat(model="auto", max_tokens=100))
        assert (status, answer["error"]["code"]) in ((429, "insufficient_quota"), (400, "request_too_large"))
        assert served.simulators[0].stats.started == 0


async def leave(served, after_chunks):
    """A client that leaves its stream when so many chunks have come; -1: before its status."""
    request_id = f"leaves-{random.getrandbits(64):x}"
    headers = {**served.as_user(), "X-Request-Id": request_id}
    body = {**served.chat(), "stream": True}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05 if after_chunks < 0 else None):
            async with served.client.post(served.url(CHAT), json=body, headers=headers) as answer:
                assert answer.status == 200
                while after_chunks >= 0 and await answer.content.readline():
                    after_chunks -= 0.5  # each is followed by an empty line
    return request_id


@pytest.mark.usefixtures("full_speed")
async def test_a_thousand_streams_that_are_left_hold_nothing_and_are_charged_what_the_engine_generated(edge_with):
    options = SimulatorOptions(
        engine=Engine.VLLM, shortest=60, longest=60, timing=Timing(first_token_ms=5, decode_ms=2), kept_records=2000
    )
    dice = random.Random(7)
    limits = tier(concurrent=1000, tokens_per_day=10**9)
    async with edge_with(options=(options, options), changes=limits) as served:
        asked = []
        for _ in range(25):
            asked += await asyncio.gather(*(leave(served, dice.randint(-1, 58)) for _ in range(40)))
        async with asyncio.timeout(10):
            while await held(served) or any(sim.stats.active for sim in served.simulators):
                await asyncio.sleep(0.02)
        generated = {record.id: record.generated for sim in served.simulators for record in sim.stats.records}
        rows = {row["request_id"]: row for row in await served.rows()}
        assert len(generated) > 900, "else few had begun"
        assert set(generated) <= set(rows)
        charged = {name: row["tokens_out"] for name, row in rows.items() if row["upstream"]}
        wrong = [name for name, tokens in charged.items() if tokens != generated.get(name, 0)]
        assert not [name for name in wrong if charged[name]]
        assert len(wrong) <= 5, "cut before the edge had read any of it, in the very moment of the first token"
        assert len(set(charged.values())) > 20, "they were left at many places"
        used = sum(row["tokens_in"] + row["tokens_out"] for row in rows.values())
        assert await left(served, "tokens_per_day") == 10**9 - used
