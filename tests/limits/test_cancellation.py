"""Callers that leave: whatever they were waiting for, nothing of theirs stays taken, and others do not notice."""

import asyncio

import pytest
from msgspec.structs import replace

from citadel_edge.limits.values import Spent
from limiters import Bill, entitlement, instance

LIMITS = entitlement(requests_per_minute=1000, tokens_per_day=100_000, concurrent=50, burst=1)
FULL = {"requests_per_minute": 1000, "tokens_per_day": 100_000, "concurrent": 50}


async def _cancelled_after(one, wait):
    async with asyncio.TaskGroup() as group:
        task = group.create_task(one.reserve(LIMITS, tokens=10))
        await wait()
        task.cancel()
    if not task.cancelled():
        one.limiter.release(task.result().reservation)


@pytest.mark.parametrize("turns", range(12))
async def test_a_claim_cancelled_at_any_turn_leaves_nothing(redis_url, turns):
    async with instance(redis_url) as one:

        async def wait():
            for _ in range(turns):
                await asyncio.sleep(0)

        await _cancelled_after(one, wait)
        await one.settled()
        assert await one.levels(LIMITS) == FULL
        assert not len(one.parts.open_)


async def test_claims_cancelled_at_any_moment_leave_nothing_and_disturb_nobody(redis_url):
    async with instance(redis_url) as one:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.reserve(LIMITS, tokens=10, user=f"usr_{place}")) for place in range(40)]
            for place in range(0, 40, 2):
                await asyncio.sleep(0.0003)
                tasks[place].cancel()
        stayed = [task.result() for task in tasks[1::2]]
        assert all(decision.allowed for decision in stayed)
        for task in tasks:
            if not task.cancelled():
                one.limiter.settle(task.result().reservation, Spent(1, 7))
        await one.settled()
        for place in range(40):
            left = await one.levels(LIMITS, user=f"usr_{place}")
            assert left["concurrent"] == 50
            assert left["tokens_per_day"] == (100_000 if tasks[place].cancelled() else 99_993)


async def test_a_claim_cancelled_before_a_frozen_server_thaws_takes_nothing(own_valkey):
    async with instance(own_valkey.url, deadline_ms=1500) as one:
        await one.levels(LIMITS)
        own_valkey.freeze()
        await _cancelled_after(one, lambda: asyncio.sleep(0.1))
        own_valkey.thaw()
        await one.settled()
        assert await one.levels(LIMITS) == FULL


async def test_what_arrives_after_it_was_given_up_is_given_back(redis_url):
    """Its give-back overtook it on another connection."""
    async with instance(redis_url) as one:
        decision = await one.reserve(LIMITS, tokens=10)
        order = decision.reservation.order
        one.limiter.release(decision.reservation)
        await one.settled()
        given_up = replace(order, reservation=order.reservation[:-4] + "abcd", not_after_ms=0)
        one.parts.settling.undo(given_up, asyncio.get_running_loop().time() + 0.2)
        await asyncio.sleep(0.1)
        await one.parts.store.reserve(given_up)
        await one.settled()
        assert await one.levels(LIMITS) == FULL


async def test_settlements_by_id_are_carried_out_although_the_caller_leaves(redis_url):
    async with instance(redis_url) as one:
        made = (await one.reserve(LIMITS, tokens=10, held=False)).reservation
        async with asyncio.TaskGroup() as group:
            task = group.create_task(one.limiter.settle_id(made.id, Bill(Spent(1, 4))))
            await asyncio.sleep(0)
            task.cancel()
        await one.settled()
        assert (await one.levels(LIMITS))["tokens_per_day"] == 99_996
