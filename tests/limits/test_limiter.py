"""Claims on a Redis that answers: what is granted, denied, given back, and looked at."""

import asyncio

import pytest

from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.claims import Reason
from citadel_edge.limits.plan import Who
from citadel_edge.limits.values import NANO, NOTHING, LimitName, Spent
from limiters import Bill, claim, entitlement, instance

GENEROUS = entitlement(
    requests_per_minute=1000,
    tokens_per_minute=100_000,
    concurrent=100,
    tokens_per_day=1_000_000,
    usd_per_month=10,
    burst=1,
)


async def test_a_claim_without_limits_is_granted_without_a_reservation(redis_url):
    async with instance(redis_url) as one:
        decision = await one.reserve(entitlement())
        assert (decision.allowed, decision.reservation, decision.standings) == (True, None, ())
        assert one.metric("checks_total", tier="test", dimension="", outcome="allowed") == 1


async def test_what_is_settled_is_what_counts(redis_url):
    async with instance(redis_url) as one:
        decision = await one.reserve(GENEROUS, tokens=500, nano_usd=NANO)
        assert decision.allowed
        assert {each.name: each.remaining for each in decision.standings} == {
            LimitName.REQUESTS_PER_MINUTE: 999,
            LimitName.TOKENS_PER_MINUTE: 99_500,
            LimitName.CONCURRENT: 99,
            LimitName.TOKENS_PER_DAY: 999_500,
            LimitName.USD_PER_MONTH: 9.0,
        }
        one.limiter.settle(decision.reservation, Spent(1, 120, NANO // 4))
        one.limiter.settle(decision.reservation, Spent(1, 99_999, 9 * NANO))
        await one.settled()
        levels = await one.levels(GENEROUS)
        assert (levels["tokens_per_day"], levels["usd_per_month"], levels["concurrent"]) == (999_880, 9.75, 100)
        assert one.metric("reserved_tokens_total", tier="test") == 500
        assert one.metric("settled_tokens_total", tier="test") == 120
        assert one.limiter.remaining_usd("org_test", "usr_1", GENEROUS) == 9.75


async def test_a_release_gives_all_back(redis_url):
    async with instance(redis_url) as one:
        before = await one.levels(GENEROUS)
        decision = await one.reserve(GENEROUS, tokens=500)
        one.limiter.release(decision.reservation)
        await one.settled()
        assert await one.levels(GENEROUS) == before


async def test_a_rate_denies_until_it_has_drained(redis_url):
    async with instance(redis_url) as one:
        slow = entitlement(requests_per_minute=60, burst=0)
        assert (await one.reserve(slow)).allowed
        denied = await one.reserve(slow)
        assert (denied.allowed, denied.reason, denied.reservation) == (False, Reason.RATE, None)
        assert denied.denied.name is LimitName.REQUESTS_PER_MINUTE
        assert 0.5 < denied.retry_after_s <= 1.0
        await asyncio.sleep(denied.retry_after_s)
        assert (await one.reserve(slow)).allowed


async def test_a_quota_denies_until_its_period_ends(redis_url):
    async with instance(redis_url) as one:
        small = entitlement(tokens_per_month=100, requests_per_minute=1, burst=0)
        assert (await one.reserve(small, tokens=90)).allowed
        denied = await one.reserve(small, tokens=11)
        assert (denied.reason, denied.denied.name) == (Reason.QUOTA, LimitName.TOKENS_PER_MONTH)
        assert denied.retry_after_s > 60


async def test_leases_deny_for_a_second_and_are_asked_for_again(redis_url):
    async with instance(redis_url) as one:
        single = entitlement(concurrent=1)
        first = await one.reserve(single)
        denied = await one.reserve(single)
        assert (denied.reason, denied.retry_after_s) == (Reason.RATE, 1.0)
        one.limiter.settle(first.reservation, Spent(1))
        await one.settled()
        assert (await one.reserve(single)).allowed


async def test_what_was_let_in_before_is_taken_by_force_and_settled(redis_url):
    async with instance(redis_url) as one:
        small = entitlement(concurrent=1, tokens_per_day=100)
        assert (await one.reserve(small, tokens=60)).allowed
        assert not (await one.reserve(small, tokens=60)).allowed
        for tokens in (60, 101):
            forced = await one.reserve(small, tokens=tokens, force=True)
            assert forced.allowed
            one.limiter.settle(forced.reservation, Spent(1, 10))
        await one.settled()
        assert (await one.levels(small))["tokens_per_day"] == 20


@pytest.mark.parametrize("limit", ["tokens_per_minute", "tokens_per_day"])
async def test_more_tokens_than_a_limit_ever_grants_are_too_large(redis_url, limit):
    async with instance(redis_url) as one:
        small = entitlement(**{limit: 100})
        denied = await one.reserve(small, tokens=101)
        assert (denied.reason, denied.denied.name, denied.retry_after_s) == (Reason.TOO_LARGE, limit, None)
        assert (await one.reserve(small, tokens=100)).allowed
        assert one.limiter.too_large(claim(small, tokens=101))
        assert not one.limiter.too_large(claim(small, tokens=100))


async def test_a_limit_of_nothing_is_an_ordinary_denial(redis_url):
    async with instance(redis_url) as one:
        for limits in ({"tokens_per_minute": 0}, {"requests_per_minute": 0}, {"concurrent": 0}):
            denied = await one.reserve(entitlement(**limits), tokens=5)
            assert (denied.allowed, denied.reason, denied.retry_after_s) == (False, Reason.RATE, None)
        assert (await one.reserve(entitlement(tokens_per_day=0), tokens=5)).reason is Reason.QUOTA


async def test_the_smallest_limit_of_tokens_is_known_at_once(redis_url):
    async with instance(redis_url, worker=False) as one:
        limits = entitlement(tokens_per_minute=500, tokens_per_day=300, organisation={"tokens_per_month": 200})
        who = Who(organisation_id="org_test", user_id="usr_1", entitlement=limits)
        assert one.limiter.smallest(who) == 200
        none = Who(organisation_id="org_test", user_id="usr_2", entitlement=entitlement(concurrent=1))
        assert one.limiter.smallest(none) is None


async def test_looking_takes_nothing(redis_url):
    async with instance(redis_url) as one:
        for _ in range(3):
            looked = await one.limiter.look(claim(entitlement(requests_per_minute=1, burst=0)))
            assert (looked.allowed, looked.reservation) == (True, None)


async def test_two_hundred_claims_of_two_instances_keep_one_limit(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        limits = entitlement(requests_per_minute=60, burst=0.5, organisation={"concurrent": 1000})
        decisions = await asyncio.gather(*((one, other)[place % 2].reserve(limits) for place in range(200)))
        allowed = sum(decision.allowed for decision in decisions)
        assert 30 <= allowed <= 32  # what drains meanwhile
        assert all(decision.reason is Reason.RATE for decision in decisions if not decision.allowed)


async def test_leases_of_two_instances_are_of_one_limit(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        limits = entitlement(concurrent=7)
        decisions = await asyncio.gather(*((one, other)[place % 2].reserve(limits) for place in range(40)))
        assert sum(decision.allowed for decision in decisions) == 7


async def test_a_long_request_keeps_its_lease_and_what_it_says_of_its_progress(redis_url):
    async with instance(redis_url, renew_s=0.05) as one, instance(redis_url) as other:
        limits = entitlement(concurrent=1, tokens_per_day=100)
        held = (await one.reserve(limits, tokens=80, ttl_s=0.3)).reservation
        held.progress = lambda: Spent(1, 33)
        await asyncio.sleep(1.2)
        assert not (await other.reserve(limits)).allowed
        assert (await other.levels(limits))["concurrent"] == 0


async def test_a_service_settles_by_id_what_another_instance_reserved(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        limits = entitlement(tokens_per_day=100)
        made = (await one.reserve(limits, tokens=80, held=False, meta=b"model")).reservation
        bill = Bill(Spent(1, 30))
        ended = await other.limiter.settle_id(made.id, bill)
        assert bill.told == [b"model"]
        assert (ended.late, ended.meta) == (False, b"model")
        assert other.metric("settled_tokens_total", tier="other") == 30
        assert (await one.levels(limits))["tokens_per_day"] == 70
        for instance_ in (one, other):
            with pytest.raises(RequestError) as unknown:
                await instance_.limiter.settle_id(made.id, Bill(Spent(1, 30)))
            assert unknown.value.code is Code.NOT_FOUND


async def test_a_reservation_by_id_is_renewed_and_released_by_id(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        limits = entitlement(concurrent=1, tokens_per_day=100)
        made = (await one.reserve(limits, tokens=80, kept=Spent(1, 5), held=False, ttl_s=0.4)).reservation
        for _ in range(4):
            await asyncio.sleep(0.2)
            await other.limiter.renew_id(made.id, 0.4)
        assert (await one.levels(limits))["concurrent"] == 0
        await other.limiter.release_id(made.id)
        assert await one.levels(limits) == {"concurrent": 1, "tokens_per_day": 100}
        with pytest.raises(RequestError):
            await one.limiter.renew_id(made.id, 1.0)


async def test_what_a_running_request_holds_is_nobody_s_by_its_id(redis_url):
    limits = entitlement(concurrent=1, tokens_per_day=100)
    async with instance(redis_url) as one, instance(redis_url) as other:
        made = (await one.reserve(limits, tokens=80)).reservation
        for call in (
            ask(made.id, *more)
            for each in (one, other)
            for ask, *more in (
                (each.limiter.settle_id, Bill(NOTHING)),
                (each.limiter.release_id,),
                (each.limiter.renew_id, 60.0),
            )
        ):
            with pytest.raises(RequestError) as unknown:
                await call
            assert unknown.value.code is Code.NOT_FOUND
        other.parts.elsewhere.settle(made.id, Bill(NOTHING))
        await other.settled()
        assert await one.levels(limits) == {"concurrent": 0, "tokens_per_day": 20}
        one.limiter.settle(made, Spent(1, 30))
        await one.settled()
        assert await one.levels(limits) == {"concurrent": 1, "tokens_per_day": 70}


@pytest.mark.parametrize("name", ["", "res_", "res_1_2", "res_test_" + "g" * 32, "other"])
async def test_what_is_no_reservation_s_id_is_not_found(redis_url, name):
    async with instance(redis_url) as one:
        for call in (
            one.limiter.settle_id(name, Bill(NOTHING)),
            one.limiter.release_id(name),
            one.limiter.renew_id(name, 1.0),
        ):
            with pytest.raises(RequestError) as unknown:
                await call
            assert unknown.value.code is Code.NOT_FOUND


async def test_a_user_without_limits_can_be_settled_by_id(redis_url):
    async with instance(redis_url) as one:
        made = (await one.reserve(entitlement(), held=False, meta=b"m")).reservation
        assert (await one.limiter.settle_id(made.id, Bill(Spent(1, 30)))).meta == b"m"


async def test_denials_are_told_once_a_second(redis_url):
    async with instance(redis_url) as one:
        limits = entitlement(requests_per_minute=0)
        for _ in range(20):
            await one.reserve(limits)
        told = one.events("denied")
        assert 1 <= len(told) <= 2
        assert (told[0]["user_id"], told[0]["limit"], told[0]["reason"]) == ("usr_1", "requests_per_minute", "rate")
        assert one.metric("checks_total", tier="test", dimension="requests_per_minute", outcome="rate") == 20
