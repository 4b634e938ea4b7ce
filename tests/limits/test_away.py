"""Redis away, frozen or slow: how long anybody waits, and what is granted without it."""

import asyncio
import time

import pytest

from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.claims import Home, Reason
from citadel_edge.limits.values import NANO, LimitName, Spent
from limiters import Bill, entitlement, instance, until

SLACK_S = 0.5
"""What a busy machine may add to a deadline."""


async def _away(one):
    await until(lambda: one.limiter.degraded)


async def test_a_frozen_server_costs_a_deadline_and_then_nothing(own_valkey):
    async with instance(own_valkey.url, deadline_ms=100) as one:
        limits = entitlement(requests_per_minute=1000)
        await one.reserve(limits)
        own_valkey.freeze()
        try:
            started = time.monotonic()
            decision = await one.reserve(limits)
            assert time.monotonic() - started < 0.1 + SLACK_S
            assert (decision.allowed, decision.degraded) == (True, True)
            await _away(one)
            started = time.monotonic()
            for _ in range(50):
                assert (await one.reserve(limits)).degraded
            assert time.monotonic() - started < SLACK_S
        finally:
            own_valkey.thaw()


async def test_an_order_that_a_frozen_server_reads_late_takes_nothing(own_valkey):
    """No worker: nobody gives anything back."""
    async with instance(own_valkey.url, deadline_ms=100, worker=False) as one:
        limits = entitlement(tokens_per_day=1000, concurrent=5)
        closed = entitlement(tokens_per_day=1000, concurrent=5, requests_when_away=False)
        full = await one.levels(limits)
        own_valkey.freeze()
        denied = await asyncio.gather(*(one.reserve(closed, tokens=10) for _ in range(5)))
        own_valkey.thaw()
        assert {decision.reason for decision in denied} == {Reason.AWAY}
        await one.pool.wait_until_up()
        assert await one.levels(limits) == full


async def test_a_server_that_was_never_there_denies_what_is_closed_and_shares_what_is_open(tmp_path):
    async with instance(f"unix://{tmp_path}/none.sock", share_of=2) as one:
        assert (await one.reserve(entitlement(requests_per_minute=100))).allowed
        denied = await one.reserve(entitlement(requests_per_minute=100, requests_when_away=False))
        assert (denied.allowed, denied.reason, denied.degraded) == (False, Reason.AWAY, True)
        assert (denied.denied.name, denied.retry_after_s) == (LimitName.REQUESTS_PER_MINUTE, 5.0)
        closed = await one.reserve(entitlement(tokens_per_day=100), tokens=10)
        assert (closed.reason, closed.denied.name) == (Reason.AWAY, LimitName.TOKENS_PER_DAY)
        open_ = entitlement(tokens_per_day=100, spend_when_away=True)
        assert (await one.reserve(open_, tokens=50)).allowed
        denied = await one.reserve(open_, tokens=1)
        assert (denied.reason, denied.retry_after_s) == (Reason.QUOTA, 5.0)


async def test_two_instances_grant_half_of_each_limit(own_valkey):
    limits = entitlement(requests_per_minute=120, burst=0.25, concurrent=1000)
    async with instance(own_valkey.url, share_of=2) as one, instance(own_valkey.url, share_of=2) as other:
        await asyncio.gather(one.levels(limits), other.levels(limits))
        await asyncio.to_thread(own_valkey.stop)
        started = time.monotonic()
        decisions = [await each.reserve(limits) for _ in range(200) for each in (one, other)]
        drained = 2 * (time.monotonic() - started) + 1
        allowed = sum(decision.allowed for decision in decisions)
        assert 30 <= allowed <= 30 + drained
        assert all(decision.degraded for decision in decisions)
        assert {decision.reason for decision in decisions if not decision.allowed} == {Reason.RATE}
        assert one.metric("degraded") == 1
        assert one.limiter.state().degraded


async def test_levels_that_were_known_are_shared_too(own_valkey):
    limits = entitlement(requests_per_minute=100, burst=1, tokens_per_day=1000, usd_per_month=1)
    async with instance(own_valkey.url, share_of=2) as one:
        taken = await asyncio.gather(*(one.reserve(limits, tokens=10, nano_usd=NANO // 100) for _ in range(40)))
        assert all(decision.allowed for decision in taken)
        await asyncio.to_thread(own_valkey.stop)
        after = await one.reserve(limits, tokens=10)
        left = {each.name.value: (each.limit, each.remaining) for each in after.standings}
        assert left["tokens_per_day"] == (1000, 300 - 10)
        assert left["usd_per_month"] == (1.0, 0.3)
        assert left["requests_per_minute"][0] == 100
        assert 50 - 20 - 1 <= left["requests_per_minute"][1] <= 50 - 20 + 10
        denied = await one.reserve(limits, tokens=291)
        assert (denied.reason, denied.retry_after_s) == (Reason.QUOTA, 5.0)


async def test_a_quota_that_was_used_up_stays_so_until_its_period_ends(own_valkey):
    limits = entitlement(tokens_per_month=100)
    async with instance(own_valkey.url) as one:
        await one.reserve(limits, tokens=100)
        await asyncio.to_thread(own_valkey.stop)
        denied = await one.reserve(limits, tokens=1)
        assert (denied.reason, denied.degraded) == (Reason.QUOTA, True)
        assert denied.retry_after_s > 60


async def test_leases_from_redis_count_on_without_it(own_valkey):
    limits = entitlement(concurrent=3)
    async with instance(own_valkey.url) as one:
        first, second = [(await one.reserve(limits)).reservation for _ in range(2)]
        await asyncio.to_thread(own_valkey.stop)
        third = (await one.reserve(limits)).reservation
        await _away(one)
        assert third.home is not Home.REDIS
        assert (await one.reserve(limits)).reason is Reason.RATE
        one.limiter.settle(first, Spent(1))
        assert (await one.reserve(limits)).allowed
        assert not (await one.reserve(limits)).allowed
        one.limiter.settle(second, Spent(1))
        one.limiter.settle(third, Spent(1))


async def test_a_share_is_at_least_one_but_nothing_of_nothing(own_valkey):
    async with instance(own_valkey.url, share_of=8) as one:
        await asyncio.to_thread(own_valkey.stop)
        assert (await one.reserve(entitlement(requests_per_minute=2, concurrent=1))).allowed
        assert not (await one.reserve(entitlement(concurrent=0), user="usr_2")).allowed


async def test_services_keep_their_reservations_without_redis(own_valkey):
    limits = entitlement(tokens_per_day=1000, spend_when_away=True)
    async with instance(own_valkey.url) as one:
        before = (await one.reserve(limits, tokens=10, held=False, meta=b"m")).reservation
        await asyncio.to_thread(own_valkey.stop)
        await _away(one)
        here = (await one.reserve(limits, tokens=10, held=False, meta=b"n")).reservation
        assert await one.limiter.renew_id(here.id, 60)
        assert await one.limiter.renew_id(before.id, 60)
        assert (await one.limiter.settle_id(before.id, Bill(Spent(1, 5)))).meta == b"m"
        assert (await one.limiter.settle_id(here.id, Bill(Spent(1, 5)))).meta == b"n"
        with pytest.raises(RequestError) as unknown:
            await one.limiter.settle_id(before.id, Bill(Spent(1, 5)))
        assert unknown.value.code is Code.NOT_FOUND


async def test_the_outage_is_told(own_valkey):
    async with instance(own_valkey.url, share_of=3) as one:
        await until(lambda: one.parts.comeback._looks)
        assert one.metric("degraded") == 0
        await asyncio.to_thread(own_valkey.stop)
        await _away(one)
        assert [event["degraded"] for event in one.events("degraded")] == [True]
        assert "1/3" in one.limiter.state().detail
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: not one.limiter.degraded)
        assert [event["degraded"] for event in one.events("degraded")] == [True, False]
        assert one.metric("degraded_seconds_total") > 0
        assert one.metric("redis_changed_total") == 1
        assert one.metric("redis_failures_total") > 0


async def test_a_server_that_takes_no_writes_is_away(own_valkey):
    limits = entitlement(requests_per_minute=1000)
    async with instance(own_valkey.url) as one:
        await one.levels(limits)
        own_valkey.say("REPLICAOF", "127.0.0.1", "1")
        assert (await one.reserve(limits)).degraded
        await _away(one)
        own_valkey.say("REPLICAOF", "NO", "ONE")
        await until(lambda: not one.limiter.degraded)
        assert not (await one.reserve(limits)).degraded
