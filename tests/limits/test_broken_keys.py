"""Keys on Redis that are not what they should be: their organisation is decided without, all others as ever."""

import asyncio

import pytest

from citadel_edge.limits.lifeline import LEAST_CALLS
from citadel_edge.limits.values import Spent
from limiters import entitlement, instance, until

LIMITS = entitlement(concurrent=100, tokens_per_day=1000, spend_when_away=True)
BROKEN = "org_broken"


@pytest.mark.parametrize("key", ["r", "x", "l:u:usr_1"])
async def test_they_are_decided_without_redis_alone_and_hold_up_nobody(own_valkey, key):
    async with instance(own_valkey.url, renew_s=0.05, sweep_s=0.05, deadline_ms=500) as one:
        before = (await one.reserve(LIMITS, organisation=BROKEN, ttl_s=0.6)).reservation
        own_valkey.say("DEL", name := f"citadel:limits:{{{BROKEN}}}:{key}")
        own_valkey.say("SET", name, "garbage")
        made = [await one.reserve(LIMITS, tokens=1, organisation=BROKEN) for _ in range(LEAST_CALLS * 2)]
        assert all(decision.allowed and decision.degraded for decision in made)
        assert not one.limiter.degraded
        for decision in made[1:]:
            one.limiter.settle(decision.reservation, Spent(1, 1))
        well = await one.reserve(LIMITS, tokens=100)
        assert not well.degraded
        one.limiter.settle(well.reservation, Spent(1, 7))
        one.limiter.settle(before, Spent(1, 1))
        await one.settled()
        assert (await one.levels(LIMITS))["tokens_per_day"] == 993
        own_valkey.freeze()
        await until(lambda: one.limiter.degraded)
        own_valkey.thaw()
        await until(lambda: not one.limiter.degraded)
        await asyncio.sleep(0.2)
        assert not one.limiter.degraded
        own_valkey.say("DEL", name)
        assert not (await one.reserve(LIMITS, tokens=1, organisation=BROKEN)).degraded
