"""What a request held in a process that died, for whoever goes on with it."""

from citadel_edge.limits.values import Spent
from limiters import entitlement, instance, until

LIMITS = entitlement(concurrent=1, tokens_per_day=100)


async def test_it_is_given_back_once_whatever_its_maker_says_later(redis_url):
    async with instance(redis_url) as frozen, instance(redis_url) as other:
        made = (await frozen.reserve(LIMITS, tokens=80)).reservation
        assert await other.limiter.take_back(made.id)
        assert await other.levels(LIMITS) == {"concurrent": 1, "tokens_per_day": 100}
        assert not await other.limiter.take_back(made.id)
        again = (await other.reserve(LIMITS, tokens=80)).reservation
        frozen.limiter.settle(made, Spent(1, 30))
        await frozen.settled()
        other.limiter.settle(again, Spent(1, 40))
        await other.settled()
        assert await other.levels(LIMITS) == {"concurrent": 1, "tokens_per_day": 60}


async def test_what_was_settled_stays_charged(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        made = (await one.reserve(LIMITS, tokens=80)).reservation
        one.limiter.settle(made, Spent(1, 30))
        await one.settled()
        assert not await other.limiter.take_back(made.id)
        assert not await one.limiter.take_back(made.id)
        assert await other.levels(LIMITS) == {"concurrent": 1, "tokens_per_day": 70}


async def test_a_process_takes_back_its_own(redis_url):
    async with instance(redis_url) as one:
        made = (await one.reserve(LIMITS, tokens=80)).reservation
        assert await one.limiter.take_back(made.id)
        await one.settled()
        one.limiter.settle(made, Spent(1, 30))
        await one.settled()
        assert await one.levels(LIMITS) == {"concurrent": 1, "tokens_per_day": 100}


async def test_while_redis_is_away_it_is_given_back_later(own_valkey):
    async with instance(own_valkey.url) as one, instance(own_valkey.url, deadline_ms=100) as other:
        made = (await one.reserve(LIMITS, tokens=80)).reservation
        assert (await other.levels(LIMITS))["tokens_per_day"] == 20
        own_valkey.freeze()
        try:
            await until(lambda: other.limiter.degraded)
            assert await other.limiter.take_back(made.id)
        finally:
            own_valkey.thaw()
        await until(lambda: not other.limiter.degraded)
        await other.settled()
        assert (await other.levels(LIMITS))["tokens_per_day"] == 100
