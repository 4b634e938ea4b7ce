"""Reservations that were handed out by id and are ended through another instance, in an outage and right after it."""

import asyncio

import pytest

from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.values import NOTHING, Spent
from citadel_edge.telemetry.clock import Clock
from limiters import ORGANISATION, entitlement, instance, until

LIMITS = entitlement(concurrent=4)


@pytest.fixture
async def two(own_valkey):
    async with instance(own_valkey.url, share_of=2) as one, instance(own_valkey.url, share_of=2) as other:
        yield one, other


async def lend(one):
    return (await one.reserve(LIMITS, held=False)).reservation


async def test_what_others_ended_is_free_when_redis_goes_away(two, own_valkey):
    one, other = two
    for _ in range(10):
        await other.limiter.settle_id((await lend(one)).id, Spent(1))
    kept = await lend(one)
    await asyncio.to_thread(own_valkey.stop)
    assert (await one.reserve(LIMITS)).allowed, "a share of 2, of which one is taken"
    assert not (await one.reserve(LIMITS)).allowed
    await one.limiter.settle_id(kept.id, Spent(1))
    assert (await one.reserve(LIMITS)).allowed


async def test_what_nobody_ended_is_held_on(two, own_valkey):
    one, _ = two
    own, *lent = (await one.reserve(LIMITS)).reservation, *[await lend(one) for _ in range(2)]
    await asyncio.to_thread(own_valkey.stop)
    assert not (await one.reserve(LIMITS)).allowed
    one.limiter.settle(own, Spent(1))
    await one.limiter.settle_id(lent[0].id, Spent(1))
    assert (await one.reserve(LIMITS)).allowed
    assert not (await one.reserve(LIMITS)).allowed


async def test_what_another_has_yet_to_tell_redis_is_to_be_asked_for_again(own_valkey):
    async with instance(own_valkey.url) as one, instance(own_valkey.url, worker=False) as other:
        await asyncio.to_thread(own_valkey.stop)
        reservation = await lend(other)
        await until(lambda: one.limiter.degraded)
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: not one.limiter.degraded)
        for ask in (one.limiter.meta_of, lambda which: one.limiter.settle_id(which, Spent(1))):
            with pytest.raises(RequestError) as refused:
                await ask(reservation.id)
            assert refused.value.code is Code.OVERLOADED
        await other.parts.comeback.come_back()
        assert await one.limiter.settle_id(reservation.id, Spent(1)) is not None
        assert (await one.levels(LIMITS))["concurrent"] == 4


@pytest.fixture
def forgotten(own_valkey):
    """Let Redis forget what ended, as it does after a while."""
    return lambda: own_valkey.say("DEL", f"citadel:limits:{{{ORGANISATION}}}:x")


async def test_what_others_ended_is_not_told_again_to_a_redis_that_has_lost_nothing(own_valkey, forgotten):
    async with instance(own_valkey.url, deadline_ms=200) as one, instance(own_valkey.url) as other:
        await until(lambda: one.parts.comeback._looks)
        lent = (await one.reserve(LIMITS, held=False, ttl_s=600)).reservation
        await other.limiter.settle_id(lent.id, Spent(1))
        forgotten()
        own_valkey.freeze()
        await until(lambda: one.limiter.degraded)
        own_valkey.thaw()
        await until(lambda: not one.limiter.degraded)
        assert one.metric("adopted_total") == 0
        assert (await one.levels(LIMITS))["concurrent"] == 4


async def test_what_has_expired_is_not_told_again(own_valkey):
    async with instance(own_valkey.url, renew_s=600) as one:
        await until(lambda: one.parts.comeback._looks)
        for ttl_s in (1, 600):
            assert (await one.reserve(LIMITS, held=False, ttl_s=ttl_s)).allowed
        await asyncio.to_thread(own_valkey.stop)
        await until(lambda: one.limiter.degraded)
        await asyncio.sleep(1)
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: not one.limiter.degraded)
        assert one.metric("adopted_total") == 1
        assert (await one.levels(LIMITS))["concurrent"] == 3


@pytest.mark.parametrize("spent", [Spent(1, 30), NOTHING])
async def test_what_another_ended_minutes_ago_is_not_taken_again_by_a_redis_that_may_have_lost_it(own_valkey, spent):
    """Redis is restarted with all its data, and nobody knows that it has all."""
    limits = entitlement(concurrent=4, tokens_per_month=1000)
    later_ms = 0
    async with instance(own_valkey.url) as one, instance(own_valkey.url) as other:
        for each in (one, other):
            each.parts.store._pretended_ms = lambda: int(Clock().unix_s() * 1000) + later_ms
        await until(lambda: one.parts.comeback._looks)
        lent = (await one.reserve(limits, held=False, tokens=100, ttl_s=600)).reservation
        await other.limiter.settle_id(lent.id, spent)
        later_ms = 300_000
        await other.parts.store.sweep(ORGANISATION, most=10)
        own_valkey.say("SAVE")
        await asyncio.to_thread(own_valkey.stop)
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: one.events("redis_changed") and not one.limiter.degraded)
        assert lent.id in one.parts.open_._lent
        assert await one.levels(limits) == {"concurrent": 4, "tokens_per_month": 1000 - spent.tokens}
