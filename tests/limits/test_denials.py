"""Denials that are known: who is over a limit costs Redis nothing, until something changes."""

import asyncio
import re

from citadel_edge.limits.claims import Reason
from citadel_edge.limits.values import Spent
from limiters import entitlement, instance


def _scripts_run(server):
    said = server.say("INFO", "commandstats").decode()
    return sum(int(calls) for calls in re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", said))


async def _denied_without_redis(server, one, limits, count=200, **fields):
    before = _scripts_run(server)
    decisions = [await one.reserve(limits, **fields) for _ in range(count)]
    assert not any(decision.allowed for decision in decisions)
    return _scripts_run(server) - before, decisions


async def test_a_denied_hot_key_costs_no_redis_call(own_valkey):
    limits = entitlement(tokens_per_minute=600, burst=0.1, requests_per_minute=1000)
    async with instance(own_valkey.url) as one:
        assert (await one.reserve(limits, tokens=600)).allowed
        first = await one.reserve(limits, tokens=50)
        calls, decisions = await _denied_without_redis(own_valkey, one, limits, tokens=50)
        assert calls == 0
        assert {decision.reason for decision in decisions} == {Reason.RATE}
        assert decisions[-1].retry_after_s <= first.retry_after_s
        assert first.retry_after_s - 3 < decisions[-1].retry_after_s
        assert not decisions[-1].degraded
        assert one.metric("denied_at_once_total") == 200


async def test_a_larger_cost_is_denied_too_and_a_smaller_one_is_asked_for(own_valkey):
    limits = entitlement(tokens_per_day=100)
    async with instance(own_valkey.url) as one:
        await one.reserve(limits, tokens=60)
        assert not (await one.reserve(limits, tokens=50)).allowed
        calls, _ = await _denied_without_redis(own_valkey, one, limits, tokens=51)
        assert calls == 0
        assert (await one.reserve(limits, tokens=40)).allowed


async def test_a_denial_ends_when_its_time_is_over(own_valkey):
    limits = entitlement(requests_per_minute=120, burst=0)
    async with instance(own_valkey.url) as one:
        await one.reserve(limits)
        denied = await one.reserve(limits)
        await asyncio.sleep(denied.retry_after_s)
        assert (await one.reserve(limits)).allowed


async def test_what_is_given_back_here_ends_a_denial(own_valkey):
    limits = entitlement(tokens_per_day=100)
    async with instance(own_valkey.url) as one:
        taken = await one.reserve(limits, tokens=90)
        assert not (await one.reserve(limits, tokens=20)).allowed
        one.limiter.settle(taken.reservation, Spent(1, 10))
        await one.settled()
        assert (await one.reserve(limits, tokens=20)).allowed


async def test_a_denial_while_a_settlement_is_on_its_way_does_not_outlast_it(own_valkey):
    limits = entitlement(tokens_per_day=100)
    async with instance(own_valkey.url) as one:
        taken = await one.reserve(limits, tokens=90)
        one.limiter.settle(taken.reservation, Spent(1, 10))
        await one.reserve(limits, tokens=95)
        await one.settled()
        assert (await one.reserve(limits, tokens=90)).allowed


async def test_another_limit_or_more_room_is_asked_for_anew(own_valkey):
    async with instance(own_valkey.url) as one:
        await one.reserve(entitlement(tokens_per_day=100), tokens=90)
        assert not (await one.reserve(entitlement(tokens_per_day=100), tokens=20)).allowed
        assert (await one.reserve(entitlement(tokens_per_day=200), tokens=20)).allowed


async def test_denials_of_one_organisation_are_not_another_s(own_valkey):
    limits = entitlement(organisation={"tokens_per_day": 100})
    async with instance(own_valkey.url) as one:
        await one.reserve(limits, tokens=90)
        assert not (await one.reserve(limits, tokens=20)).allowed
        assert not (await one.reserve(limits, tokens=20, user="usr_2")).allowed
        assert (await one.reserve(limits, tokens=20, organisation="org_other")).allowed


async def test_leases_are_always_asked_for(own_valkey):
    limits = entitlement(concurrent=1)
    async with instance(own_valkey.url) as one:
        await one.reserve(limits)
        calls, _ = await _denied_without_redis(own_valkey, one, limits, count=10)
        assert calls == 10


async def test_too_large_needs_no_redis(own_valkey):
    limits = entitlement(tokens_per_minute=100)
    async with instance(own_valkey.url) as one:
        calls, decisions = await _denied_without_redis(own_valkey, one, limits, count=10, tokens=101)
        assert calls == 0
        assert {decision.reason for decision in decisions} == {Reason.TOO_LARGE}
