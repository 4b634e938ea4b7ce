"""What nobody looks after any more is ended, and what Redis has lost is read from the ledger again."""

import asyncio

from citadel_edge.errors import PostgresUnavailable
from citadel_edge.limits.values import NANO, Spent
from limiters import entitlement, instance, until

LIMITS = entitlement(tokens_per_day=1000, tokens_per_month=5000, usd_per_month=10, concurrent=2)


async def test_a_killed_owner_s_reservation_is_ended_at_what_it_kept(redis_url):
    async with instance(redis_url, sweep_s=0.1) as other:
        async with instance(redis_url) as killed:
            decision = await killed.reserve(LIMITS, tokens=100, kept=Spent(1, 40), ttl_s=0.5)
            assert decision.allowed
            assert (await other.levels(LIMITS))["concurrent"] == 1
            await until(lambda: not killed.parts.sweeper._new)
        await until(lambda: other.metric("swept_total") == 1)
        levels = await other.levels(LIMITS)
        assert (levels["tokens_per_day"], levels["concurrent"]) == (960, 2)


async def test_organisations_are_registered_once_a_minute(redis_url):
    async with instance(redis_url) as one:
        for place in range(30):
            await one.reserve(LIMITS, organisation=f"org_{place % 3}")
        await until(lambda: not one.parts.sweeper._new)
        assert await one.pool.call("ZCARD", "citadel:limits:organisations") == 3
        await one.reserve(LIMITS, organisation="org_0")
        assert not one.parts.sweeper._new


async def test_a_lap_goes_round_all_organisations(redis_url):
    async with instance(redis_url, worker=False) as one:
        sweeper = one.parts.sweeper
        for place in range(120):
            sweeper.seen(f"org_{place:03}", 0)
        await sweeper._register()
        seen = [await sweeper._part() for _ in range(4)]
        assert [len(part) for part in seen] == [50, 50, 20, 50]
        assert len({name for part in seen for name in part}) == 120


class Ledger:
    def __init__(self, spent, *, failures=0):
        self.spent, self.failures, self.asked = spent, failures, []

    async def usage(self, organisation_id, user_id, since_ms):
        self.asked.append((organisation_id, user_id, since_ms))
        if self.failures:
            self.failures -= 1
            raise PostgresUnavailable("away")
        return self.spent


async def test_quotas_are_restored_after_redis_has_lost_all(own_valkey, monkeypatch):
    monkeypatch.setattr("citadel_edge.limits.restoring.TOLD_S", 0.1)
    ledger = Ledger(Spent(3, 777, 2 * NANO))
    async with instance(own_valkey.url, ledger_usage=ledger.usage, renew_s=0.05) as one:
        before = await one.reserve(LIMITS, tokens=10, ttl_s=0.3)
        await until(lambda: one.metric("restored_total") == 3)
        own_valkey.say("FLUSHALL")
        await until(lambda: one.metric("adopted_total") == 1)
        await one.reserve(LIMITS, tokens=10)
        await until(lambda: one.metric("restored_total") == 6)
        levels = await one.levels(LIMITS)
        assert levels["tokens_per_day"] == 1000 - 777
        assert levels["tokens_per_month"] == 5000 - 777
        assert levels["usd_per_month"] == 8.0
        assert {(organisation, user) for organisation, user, _ in ledger.asked} == {("org_test", "usr_1")}
        one.limiter.release(before.reservation)


async def test_organisations_quotas_are_restored_and_those_of_a_model_are_not(own_valkey):
    ledger = Ledger(Spent(3, 777))
    limits = entitlement(organisation={"tokens_per_day": 1000})
    async with instance(own_valkey.url, ledger_usage=ledger.usage) as one:
        await one.reserve(limits, tokens=10)
        await until(lambda: one.metric("restored_total") == 1)
        assert (await one.levels(limits))["tokens_per_day"] == 223
        assert [user for _, user, _ in ledger.asked] == [None]


async def test_whoever_used_something_costs_the_ledger_nothing(redis_url):
    ledger = Ledger(Spent(0))
    async with instance(redis_url, ledger_usage=ledger.usage) as one:
        for _ in range(20):
            await one.reserve(LIMITS, tokens=10)
        await asyncio.sleep(0.05)
        assert len(ledger.asked) == 3
        assert one.metric("restored_total") == 0


async def test_a_ledger_that_is_away_is_asked_again(redis_url, monkeypatch):
    monkeypatch.setattr("citadel_edge.limits.restoring.PAUSE_S", 0.05)
    ledger = Ledger(Spent(1, 100), failures=1)
    async with instance(redis_url, ledger_usage=ledger.usage) as one:
        limits = entitlement(tokens_per_day=1000)
        one.limiter.release((await one.reserve(limits, tokens=10)).reservation)
        await until(lambda: ledger.asked)
        await one.settled()
        await one.reserve(limits, tokens=10)
        await until(lambda: one.metric("restored_total") == 1)


async def _used(one, tokens):
    one.limiter.settle((await one.reserve(DAILY, tokens=tokens)).reservation, Spent(1, tokens))
    await one.settled()


DAILY = entitlement(tokens_per_day=1000)


async def test_what_a_running_server_forgets_right_after_a_question_is_asked_for_again(own_valkey):
    """No reservation is open that would tell of the loss, and more is used before the ledger is asked again."""
    ledger = Ledger(Spent(0))
    async with instance(own_valkey.url, ledger_usage=ledger.usage) as one:
        await _used(one, 300)
        ledger.spent = Spent(1, 300)
        for asked in (2, 3):
            own_valkey.say("FLUSHALL")
            assert (await one.levels(DAILY))["tokens_per_day"] == 1000
            await _used(one, 10)
            await _used(one, 10)
            if asked == 3:
                assert len(ledger.asked) == 2, "it was suspected a moment ago"
                for quota in one.parts.restoring._asked.values():
                    quota.again_s = 0.0
                await one.levels(DAILY)
            await until(lambda: one.metric("restored_total") == asked - 1)  # noqa: B023 - awaited here
            assert len(ledger.asked) == asked
            assert (await one.levels(DAILY))["tokens_per_day"] <= 700


async def test_after_a_change_of_servers_each_quota_is_asked_for_once(own_valkey, monkeypatch):
    monkeypatch.setattr("citadel_edge.limits.restoring.TOLD_S", 0.1)
    monkeypatch.setattr("citadel_edge.limits.restoring.AGAIN_S", 0.0)
    ledger = Ledger(Spent(1, 100))
    async with instance(own_valkey.url, ledger_usage=ledger.usage) as one:
        await until(lambda: one.parts.comeback._looks)
        await asyncio.to_thread(own_valkey.stop)
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: one.events("redis_changed") and not one.limiter.degraded)
        for _ in range(10):
            await _used(one, 10)
            await asyncio.sleep(0.05)
        assert len(ledger.asked) == 1
        assert (await one.levels(DAILY))["tokens_per_day"] < 900


async def test_a_quota_that_shrinks_as_reservations_are_given_back_is_not_suspected(redis_url, monkeypatch):
    monkeypatch.setattr("citadel_edge.limits.restoring.AGAIN_S", 0.0)
    ledger = Ledger(Spent(0))
    async with instance(redis_url, ledger_usage=ledger.usage) as one:
        for _ in range(10):
            one.limiter.settle((await one.reserve(DAILY, tokens=500)).reservation, Spent(1, 1))
            await one.settled()
        assert len(ledger.asked) == 1
