"""What was granted without Redis is told to it by whoever granted it: the ledger's rows of it do not count besides."""

import asyncio

import pytest

from citadel_edge.limits.values import Spent
from limiters import entitlement, instance, until

DAY = 100_000
LIMITS = entitlement(tokens_per_day=DAY, spend_when_away=True)


class Ledger:
    """It has each row at once."""

    def __init__(self):
        self.tokens = 0

    async def serve(self, one, *, reserved, spent):
        """A request from its beginning to its row."""
        reservation = (await one.reserve(LIMITS, tokens=reserved)).reservation
        one.limiter.settle(reservation, Spent(1, spent))
        self.tokens += spent

    async def usage(self, *_whose):
        return Spent(0, self.tokens)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Others are expected to have told all in a second."""
    monkeypatch.setattr("citadel_edge.limits.restoring.TOLD_S", 1.0)


async def used(one):
    await one.settled()
    return DAY - (await one.levels(LIMITS))["tokens_per_day"]


@pytest.mark.parametrize("loses", [True, False])
async def test_what_another_instance_tells_later_is_counted_once(own_valkey, loses):
    ledger = Ledger()
    place = {"ledger_usage": ledger.usage, "deadline_ms": 500}
    async with instance(own_valkey.url, **place) as one, instance(own_valkey.url, worker=False, **place) as other:
        await until(lambda: one.parts.comeback._looks)
        if loses:
            await ledger.serve(one, reserved=100, spent=30)
            await one.settled()
        await asyncio.to_thread(own_valkey.stop if loses else own_valkey.freeze)
        await ledger.serve(other, reserved=200, spent=20)
        await until(lambda: one.limiter.degraded)
        await asyncio.to_thread(own_valkey.start if loses else own_valkey.thaw)
        await until(lambda: not one.limiter.degraded)
        await ledger.serve(one, reserved=100, spent=3)
        assert await used(one) == 3
        await other.parts.comeback.come_back()
        assert await used(one) == 20 + 3
        restored = one.metric("restored_total")
        await until(lambda: one.metric("restored_total") > restored)
        assert await used(one) == ledger.tokens
