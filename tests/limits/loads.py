"""Requests under way while the primary that counts them dies: what of them is lost, and what is said of it."""

import asyncio
import time

import structlog

from citadel_edge.limits.values import Spent
from clusters import until as until_so
from limiters import ORGANISATION, entitlement, until

MONTH, LEASES = 10**9, 10_000
LIMITS = entitlement(organisation={"tokens_per_month": MONTH, "concurrent": LEASES}, spend_when_away=True)
"""All requests count against the same quota, and none is refused."""
DEADLINE_MS = 400
"""An answer that takes longer on a busy machine is decided without Redis, and counted all the same."""
WITHIN_S = 60


class Load:
    """Requests on an instance, and what they took in the end."""

    def __init__(self, one, organisation=ORGANISATION):
        self.one = one
        self.tokens = 0
        self.degraded = 0
        self.slowest_s = 0.0
        self._organisation = organisation
        self._over = False

    async def request(self, place, tokens, *, pause_s=0.0):
        began_s = time.monotonic()
        decision = await self.one.reserve(LIMITS, tokens=100, user=f"usr_{place}", organisation=self._organisation)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        assert decision.allowed
        self.degraded += decision.degraded
        await asyncio.sleep(pause_s)
        self.one.limiter.settle(decision.reservation, Spent(1, tokens))
        self.tokens += tokens

    async def many(self, number, tokens):
        """So many at once, and all of them settled at Redis."""
        async with asyncio.TaskGroup() as group:
            for place in range(number):
                group.create_task(self.request(place, tokens))
        await self.one.settled()

    async def keep_on(self, place):
        """One after the other until `stop`."""
        turn = 0
        while not self._over:
            turn += 1
            await self.request(place, 10 + turn % 7, pause_s=0.05 + 0.01 * (place % 5))

    def stop(self):
        self._over = True

    async def held(self, number, tokens):
        """Reservations that stay open."""
        asked = {"tokens": tokens, "organisation": self._organisation}
        return [(await self.one.reserve(LIMITS, **asked)).reservation for _ in range(number)]

    async def counted(self):
        """Tokens and leases that Redis knows of."""
        levels = await self.one.levels(LIMITS, organisation=self._organisation)
        return MONTH - levels["tokens_per_month"], LEASES - levels["concurrent"]


async def served(one):
    """Return when Redis decides, and knows all."""
    away, owed = one.parts.open_.away, one.parts.owed
    await until(lambda: not (one.limiter.degraded or away() or owed or len(one.parts.settling)), WITHIN_S)


async def all_replicated(primary):
    """Return when its replica has all that was written."""
    await asyncio.to_thread(until_so, primary.has_replicated)


async def lose_a_primary(one, primary, organisation=ORGANISATION):
    """Kill a primary of which a replica has not got all, under load, and see what the replica has in the end.

    What was settled before it was cut off is there; what was settled until it was killed may be lost; all else counts
    once, on whichever server.
    """
    load = Load(one, organisation)
    await until(lambda: one.parts.comeback._looks, WITHIN_S)
    await load.many(40, 50)
    held = await load.held(5, 1000)
    await all_replicated(primary)
    replicated = load.tokens
    await asyncio.to_thread(primary.cut_off)
    await load.many(25, 30)
    surely_lost, unsent_writes = load.tokens - replicated, 2 * 25
    with structlog.testing.capture_logs() as told:
        async with asyncio.TaskGroup() as group:
            for place in range(10):
                group.create_task(load.keep_on(place))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(primary.stop)
            unsent = load.tokens - replicated
            await until(lambda: one.limiter.degraded)
            await until(lambda: one.events("redis_changed") and not one.limiter.degraded, WITHIN_S)
            await asyncio.sleep(0.2)
            load.stop()
    await served(one)
    tokens, leases = await load.counted()
    assert surely_lost <= load.tokens + 5 * 1000 - tokens <= unsent
    assert leases == 5
    assert load.degraded
    _is_said(one, told, unsent_writes)
    for reservation in held:
        one.limiter.settle(reservation, Spent(1, 7))
    await one.settled()
    assert await load.counted() == (tokens - 5 * 1000 + 5 * 7, 0)


def _is_said(one, told, unsent_writes):
    (event,) = one.events("redis_changed")
    assert unsent_writes <= event["lost_at_most"] <= one.parts.store.writes
    assert event["of_the_last_s"] > 0
    (line,) = (each for each in told if each["event"].startswith("another Redis server answers"))
    assert (line["log_level"], line["lost_at_most"]) == ("warning", event["lost_at_most"])
    assert one.metric("redis_changed_total") == 1
    assert one.metric("redis_lost_at_most_total") == event["lost_at_most"]
    state = one.limiter.state()
    assert not state.degraded
    assert f"may have lost some of the last {event['lost_at_most']} writes" in state.detail
