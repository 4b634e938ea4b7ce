"""Behind sentinels: a failover loses at most what replication had not sent, says so, and is over by itself."""

import asyncio

import pytest

from citadel_edge.limits.values import Spent
from clusters import running_sentinels
from limiters import instance, until
from limits.loads import DEADLINE_MS, LIMITS, WITHIN_S, Load, all_replicated, lose_a_primary, served


@pytest.fixture
def watched():
    """A primary, a replica and three sentinels of one's own."""
    with running_sentinels() as made:
        yield made


async def test_a_failover_loses_at_most_what_replication_had_not_sent_and_says_so(watched):
    async with instance(watched.url, deadline_ms=DEADLINE_MS) as one:
        await lose_a_primary(one, watched.primary)
        assert watched.replica.is_primary


async def test_a_primary_that_thaws_after_its_failover_is_not_believed(watched, monkeypatch):
    """What it lost is restored from the ledger, and leases of an owner that died meanwhile end."""
    monkeypatch.setattr("citadel_edge.limits.restoring.TOLD_S", 0.5)
    ledger = Ledger()
    async with instance(watched.url, deadline_ms=DEADLINE_MS, ledger_usage=ledger.usage, sweep_s=0.3) as one:
        load = Load(one)
        async with instance(watched.url) as dead:
            for _ in range(3):
                await dead.reserve(LIMITS, tokens=100, kept=Spent(1, 100), ttl_s=3)
        await load.many(10, 100)
        await all_replicated(watched.primary)
        ledger.tokens = 123_456
        watched.primary.freeze()
        for place in range(2):
            await load.request(place, 100)
            await until(lambda: one.limiter.degraded, WITHIN_S)
        await until(lambda: one.events("redis_changed") and not one.limiter.degraded, WITHIN_S)
        watched.primary.thaw()
        async with asyncio.timeout(WITHIN_S):
            while not one.metric("restored_total"):
                await load.request(2, 100)
                await asyncio.sleep(0.01)
            while watched.primary.is_primary or (await load.counted())[1]:
                await asyncio.sleep(0.05)
        await served(one)
        assert ledger.tokens <= (await load.counted())[0] <= ledger.tokens + load.tokens
        assert len(one.events("redis_changed")) == 1


class Ledger:
    """Knows one number."""

    def __init__(self):
        self.tokens = 0

    async def usage(self, *_):
        return Spent(0, self.tokens)
