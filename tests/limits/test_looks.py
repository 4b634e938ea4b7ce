"""Pages of quotas: all limits of a user at a glance, and no claim is held up by them."""

import asyncio

from citadel_edge.accounts.entitlement import Entitlement, LimitSheet
from citadel_edge.limits.lifeline import LEAST_CALLS
from citadel_edge.limits.plan import Who
from limiters import ORGANISATION, entitlement, instance

MODELS = [f"model-{place}" for place in range(100)]
ENDPOINTS = [f"/v1/{place}" for place in range(100)]
LIMITS = Entitlement(
    tier=LimitSheet(
        values={"concurrent": 2},
        by_model={name: {"tokens_per_day": 1000 + place} for place, name in enumerate(MODELS)},
        by_endpoint={name: {"requests_per_minute": 60} for name in ENDPOINTS},
    ),
    organisation=LimitSheet(by_model={name: {"concurrent": 3} for name in MODELS}),
)


def caller(model="", endpoint="", limits=LIMITS):
    return Who(organisation_id=ORGANISATION, user_id="usr_1", entitlement=limits, model=model, endpoint=endpoint)


CALLERS = [caller(), *(caller(model) for model in MODELS), *(caller("", endpoint) for endpoint in ENDPOINTS)]


async def test_all_sheets_are_asked_for_in_a_few_questions(redis_url):
    async with instance(redis_url) as one:
        await one.reserve(LIMITS, tokens=7, model=MODELS[99])
        before = await _calls(one.pool)
        looked = await one.limiter.look_all(CALLERS)
        assert await _calls(one.pool) - before <= 20
        assert not looked.degraded
        left = {(standing.name, standing.scope): standing.remaining for standing in looked.standings}
        assert len(left) == 1 + 100 + 100 + 100
        assert left["tokens_per_day", "user model model-99"] == 1000 + 99 - 7
        assert left["tokens_per_day", "user model model-5"] == 1005
        assert left["concurrent", "organisation model model-99"] == 2
        assert (await one.limiter.look_all([])).standings == ()


async def test_looks_in_vain_do_not_stop_claims_from_being_decided_by_redis(own_valkey):
    async with instance(own_valkey.url, deadline_ms=100, worker=False) as one:
        await one.levels(entitlement(concurrent=1))
        own_valkey.freeze()
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(one.limiter.look_all(CALLERS)) for _ in range(LEAST_CALLS * 2)]
        own_valkey.thaw()
        assert all(look.result().degraded for look in looks)
        assert one.metric("redis_failures_total") == 0
        assert not one.events("degraded")


async def _calls(pool):
    said = await pool.call("INFO", "commandstats")
    text = said if isinstance(said, bytes) else said.encode()
    return sum(
        int(line.split(b"calls=")[1].split(b",")[0]) for line in text.split() if line.startswith(b"cmdstat_eval")
    )
