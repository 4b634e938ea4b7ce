"""Reservations that were handed out by id and are ended through another instance, in an outage and right after it."""

import asyncio

import pytest

from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.values import NOTHING, Spent
from citadel_edge.telemetry.clock import Clock
from limiters import ORGANISATION, Bill, entitlement, instance, until

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
        await other.limiter.settle_id((await lend(one)).id, Bill(Spent(1)))
    kept = await lend(one)
    await asyncio.to_thread(own_valkey.stop)
    assert (await one.reserve(LIMITS)).allowed, "a share of 2, of which one is taken"
    assert not (await one.reserve(LIMITS)).allowed
    await one.limiter.settle_id(kept.id, Bill(Spent(1)))
    assert (await one.reserve(LIMITS)).allowed


async def test_what_nobody_ended_is_held_on(two, own_valkey):
    one, _ = two
    own, *lent = (await one.reserve(LIMITS)).reservation, *[await lend(one) for _ in range(2)]
    await asyncio.to_thread(own_valkey.stop)
    assert not (await one.reserve(LIMITS)).allowed
    one.limiter.settle(own, Spent(1))
    await one.limiter.settle_id(lent[0].id, Bill(Spent(1)))
    assert (await one.reserve(LIMITS)).allowed
    assert not (await one.reserve(LIMITS)).allowed


async def test_what_another_has_yet_to_tell_redis_is_ended_when_it_has(own_valkey):
    async with instance(own_valkey.url) as one, instance(own_valkey.url, worker=False) as other:
        await asyncio.to_thread(own_valkey.stop)
        lent, kept = await lend(other), (await other.reserve(LIMITS, held=False, ttl_s=600)).reservation
        await until(lambda: one.limiter.degraded)
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: not one.limiter.degraded)
        bill = Bill(Spent(1))
        assert await one.limiter.settle_id(lent.id, bill) is None
        assert not await one.limiter.renew_id(kept.id, 1200)
        assert not bill.told
        await other.parts.comeback.come_back()
        await one.settled()
        assert bill.told == [b""]
        assert (await one.levels(LIMITS))["concurrent"] == 3


async def test_what_nobody_tells_redis_is_lost_in_the_end_and_said(own_valkey, monkeypatch):
    monkeypatch.setattr("citadel_edge.limits.elsewhere.TOLD_S", 0.5)
    async with instance(own_valkey.url) as one:
        await asyncio.to_thread(own_valkey.stop)
        await until(lambda: one.limiter.degraded)
        bill, name = Bill(Spent(1)), f"res_test_{7:032x}"
        assert await one.limiter.settle_id(name, bill) is None
        await asyncio.to_thread(own_valkey.start)
        await one.settled()
        assert not bill.told
        assert one.metric("settlements_lost_total") == 1


async def test_what_others_granted_is_ended_and_renewed_through_an_outage(two, own_valkey):
    one, other = two
    limits = entitlement(concurrent=4, tokens_per_month=1000)
    mine = (await one.reserve(limits, held=False, meta=b"mine", ttl_s=600)).reservation
    lent = [
        (await other.reserve(limits, held=False, tokens=100, meta=b"%d" % number, ttl_s=600)).reservation
        for number in range(3)
    ]
    await asyncio.to_thread(own_valkey.stop)
    await until(lambda: one.limiter.degraded and other.limiter.degraded)
    bills = [Bill(Spent(1, tokens)) for tokens in (30, 40)]
    for each, bill in zip(lent, bills, strict=False):
        assert await one.limiter.settle_id(each.id, bill) is None
        with pytest.raises(RequestError) as twice:
            await one.limiter.settle_id(each.id, bill)
        assert twice.value.code is Code.NOT_FOUND
    assert not await one.limiter.renew_id(lent[2].id, 600, lambda meta: Spent(1, 50 + int(meta)))
    assert await other.limiter.settle_id(lent[1].id, Bill(Spent(1, 60))) is not None, "its own, told first"
    assert await one.limiter.renew_id(mine.id, 700)
    await asyncio.to_thread(own_valkey.start)
    await until(lambda: not one.limiter.degraded and not other.limiter.degraded)
    for each in two:
        await each.settled()
    assert bills[0].told == [b"0"]
    left = await one.levels(limits)
    assert left["concurrent"] == 2
    assert left["tokens_per_month"] == 1000 - 30 - 100 - (60 if not bills[1].told else 40)


@pytest.fixture
def forgotten(own_valkey):
    """Let Redis forget what ended, as it does after a while."""
    return lambda: own_valkey.say("DEL", f"citadel:limits:{{{ORGANISATION}}}:x")


async def test_what_others_ended_is_not_told_again_to_a_redis_that_has_lost_nothing(own_valkey, forgotten):
    url = own_valkey.url
    async with instance(url, deadline_ms=200) as one, instance(url, deadline_ms=200) as other:
        await until(lambda: one.parts.comeback._looks)
        lent = (await one.reserve(LIMITS, held=False, ttl_s=600)).reservation
        await other.limiter.settle_id(lent.id, Bill(Spent(1)))
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
        await other.limiter.settle_id(lent.id, Bill(spent))
        later_ms = 300_000
        await other.parts.store.sweep(ORGANISATION, most=10)
        own_valkey.say("SAVE")
        await asyncio.to_thread(own_valkey.stop)
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: one.events("redis_changed") and not one.limiter.degraded)
        assert lent.id in one.parts.open_._lent
        assert await one.levels(limits) == {"concurrent": 4, "tokens_per_month": 1000 - spent.tokens}
