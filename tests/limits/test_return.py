"""Redis back: it knows what was used, once, and what is open."""

import asyncio

import pytest
from msgspec.structs import replace

from citadel_edge.limits.claims import Home, Reason
from citadel_edge.limits.settling import Settlement
from citadel_edge.limits.values import Spent
from limiters import entitlement, instance, until

MONTH = 100_000
LIMITS = entitlement(tokens_per_month=MONTH, concurrent=10, tokens_per_minute=90_000, burst=1, spend_when_away=True)


async def _served(one):
    await until(lambda: not one.limiter.degraded and not one.parts.open_.away() and not one.parts.owed)
    await one.settled()


async def _used(one):
    levels = await one.levels(LIMITS)
    return MONTH - levels["tokens_per_month"], 10 - levels["concurrent"]


async def _an_outage(one, stop, start):
    """Used before 50; open from before 70 in the end; used without 120; open from without 300."""
    await until(lambda: one.parts.comeback._looks)
    before = await one.reserve(LIMITS, tokens=100)
    one.limiter.settle(before.reservation, Spent(1, 50))
    await one.settled()
    open_before = (await one.reserve(LIMITS, tokens=100)).reservation
    await asyncio.to_thread(stop)
    first = (await one.reserve(LIMITS, tokens=200)).reservation
    assert first.home is Home.UNCERTAIN
    await until(lambda: one.limiter.degraded)
    local = (await one.reserve(LIMITS, tokens=200)).reservation
    assert local.home is Home.LOCAL
    still_open = (await one.reserve(LIMITS, tokens=300)).reservation
    one.limiter.settle(open_before, Spent(1, 70))
    one.limiter.settle(first, Spent(1, 20))
    one.limiter.settle(local, Spent(1, 100))
    await asyncio.to_thread(start)
    await _served(one)
    return still_open


async def test_after_a_freeze_redis_has_all_that_was_used_once(own_valkey):
    async with instance(own_valkey.url, deadline_ms=200) as one:
        still_open = await _an_outage(one, own_valkey.freeze, own_valkey.thaw)
        assert await _used(one) == (50 + 70 + 120 + 300, 1)
        one.limiter.settle(still_open, Spent(1, 5))
        await one.settled()
        assert await _used(one) == (50 + 70 + 120 + 5, 0)
        assert one.events("redis_changed") == []


async def test_after_a_loss_redis_has_what_was_open_and_used_since_once(own_valkey):
    async with instance(own_valkey.url) as one:
        still_open = await _an_outage(one, own_valkey.stop, own_valkey.start)
        assert await _used(one) == (70 + 120 + 300, 1)
        one.limiter.settle(still_open, Spent(1, 5))
        await one.settled()
        assert await _used(one) == (70 + 120 + 5, 0)
        assert len(one.events("redis_changed")) == 1


async def test_rates_get_what_has_not_drained(own_valkey):
    limits = entitlement(tokens_per_minute=60_000, burst=1)
    async with instance(own_valkey.url) as one:
        await one.levels(limits)
        await asyncio.to_thread(own_valkey.stop)
        await until(lambda: one.limiter.degraded)
        made = [(await one.reserve(limits, tokens=2000)).reservation for _ in range(10)]
        for reservation in made[:9]:
            one.limiter.settle(reservation, Spent(1, 1000))
        await asyncio.sleep(1)
        await asyncio.to_thread(own_valkey.start)
        await _served(one)
        left = (await one.levels(limits))["tokens_per_minute"]
        assert 60_000 - 11_000 + 1000 <= left <= 60_000 - 11_000 + 2000 + 8000


async def test_many_claims_through_an_outage_are_counted_once_each(own_valkey):
    async with instance(own_valkey.url, deadline_ms=200) as one:
        spent, granted = 0, 0

        async def work(place):
            nonlocal spent, granted
            for turn in range(25):
                decision = await one.reserve(LIMITS_OF_MANY, tokens=100, user=f"usr_{place}")
                assert decision.allowed
                granted += 1
                await asyncio.sleep(0.01 * (place % 7))
                spent += 10 + turn
                one.limiter.settle(decision.reservation, Spent(1, 10 + turn))

        async with asyncio.TaskGroup() as group:
            for place in range(20):
                group.create_task(work(place))
            await asyncio.sleep(0.2)
            own_valkey.freeze()
            await until(lambda: one.limiter.degraded)
            await asyncio.sleep(0.4)
            own_valkey.thaw()
        await _served(one)
        assert granted == 500
        left = (await one.levels(LIMITS_OF_MANY))["tokens_per_month"]
        assert 10**9 - left == spent


LIMITS_OF_MANY = entitlement(organisation={"tokens_per_month": 10**9, "concurrent": 1000}, spend_when_away=True)


async def test_settlements_wait_for_redis_and_are_sent_in_any_order_once(own_valkey):
    async with instance(own_valkey.url) as one:
        made = [(await one.reserve(LIMITS, tokens=100)).reservation for _ in range(10)]
        own_valkey.freeze()
        for reservation in made:
            one.limiter.settle(reservation, Spent(1, 1))
            one.limiter.settle(reservation, Spent(1, 99))
        await asyncio.sleep(0.1)
        assert one.metric("settlements_waiting") == 10
        own_valkey.thaw()
        await one.settled()
        assert await _used(one) == (10, 0)


async def test_a_settlement_that_redis_may_not_have_heard_of_is_counted_once(redis_url):
    """The answer to its order was lost; the order was carried out in one case and not in the other."""
    async with instance(redis_url) as one:
        heard = (await one.reserve(LIMITS, tokens=100)).reservation
        unheard = (await one.reserve(LIMITS, tokens=100)).reservation
        await one.parts.store.settle(unheard.id, Spent(0))
        for reservation in (heard, unheard):
            reservation.home = Home.UNCERTAIN
            one.limiter.settle(reservation, Spent(1, 7))
        await one.settled()
        assert await _used(one) == (7, 0)  # the other was settled before: its id is remembered
        never = replace(unheard.order, reservation=unheard.id[:-4] + "abcd")
        for _ in range(2):
            one.parts.settling.put(Settlement(id=never.reservation, spent=Spent(1, 30), order=never, uncertain=True))
            await one.settled()
        assert await _used(one) == (37, 0)


async def test_what_a_running_server_forgets_is_told_again(own_valkey):
    async with instance(own_valkey.url, renew_s=0.05) as one:
        held = (await one.reserve(LIMITS, tokens=100, ttl_s=0.6)).reservation
        short = (await one.reserve(LIMITS, tokens=100)).reservation
        own_valkey.say("FLUSHALL")
        one.limiter.settle(short, Spent(1, 9))
        await asyncio.sleep(0.5)
        assert await _used(one) == (9 + 100, 1)
        one.limiter.settle(held, Spent(1, 1))
        await one.settled()
        assert await _used(one) == (10, 0)


async def test_a_server_that_changes_without_an_outage_is_noticed(own_valkey):
    """The restart is quicker than anybody looks."""
    async with instance(own_valkey.url) as one:
        held = (await one.reserve(LIMITS, tokens=100)).reservation
        await until(lambda: one.parts.comeback._looks)
        own_valkey.stop()
        own_valkey.start()
        await until(lambda: one.metric("adopted_total") == 1)
        assert len(one.events("redis_changed")) == 1
        assert await _used(one) == (100, 1)
        one.limiter.settle(held, Spent(1, 1))
        await one.settled()


async def test_what_was_denied_without_redis_is_granted_with_it(own_valkey):
    limits = entitlement(requests_per_minute=10, burst=1, requests_when_away=False)
    async with instance(own_valkey.url) as one:
        await asyncio.to_thread(own_valkey.stop)
        assert (await one.reserve(limits)).reason is Reason.AWAY
        await asyncio.to_thread(own_valkey.start)
        await _served(one)
        decision = await one.reserve(limits)
        assert (decision.allowed, decision.degraded) == (True, False)


@pytest.mark.parametrize("waiting", [True, False])
async def test_the_end_of_the_process_sends_what_waits(redis_url, waiting):
    async with instance(redis_url) as one:
        if waiting:
            made = (await one.reserve(LIMITS, tokens=100)).reservation
            one.limiter.settle(made, Spent(1, 3))
    async with instance(redis_url) as after:
        assert await _used(after) == ((3 if waiting else 0), 0)
