"""Reservations that were handed out by id and are ended through another instance, in an outage and right after it."""

import asyncio

import pytest

from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.values import Spent
from limiters import entitlement, instance, until

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
    for over in (own, lent[0]):
        await one.limiter.settle_id(over.id, Spent(1))
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
