"""Checks that another instance settles, and checks while Redis is away."""

import asyncio
from functools import partial

from checks import DOOR, Checks, checking
from edges import serving
from servers import own_valkey

__all__ = ["own_valkey"]
DONE = "SELECT * FROM usage_events WHERE outcome = 'done'"


async def test_what_one_instance_granted_another_renews_and_settles(edge_with, tmp_path, migrated_dsn, redis_url):
    (tmp_path / "other").mkdir()
    async with checking(edge_with(options=()), concurrent=1, tokens_per_day=100) as (checks, user):
        place = {"dsn": migrated_dsn, "redis_url": redis_url, "data_dir": tmp_path / "other"}
        async with serving(options=(), beside=checks.served, **place) as other:
            there = Checks(other)
            there.service = checks.service
            checked = await checks.check(user, tokens=70, model="others-model", endpoint="/v1/x")
            assert (await there.check(user))["reason"] == "rate_limit_exceeded"
            renewed = {"reservation": checked["reservation"], "ttl_s": 100, "tokens": 5}
            assert (await there("/v1/renew", renewed))[0] == 200
            body = {"reservation": checked["reservation"], "tokens_in": 4, "tokens_out": 6}
            assert (await there("/v1/settle", body))[0] == 200
            assert (await checks("/v1/settle", body))[0] == 404
            assert (await there.check(user))["allowed"]
            assert await checks.left(user, "tokens_per_day") == 90
            (row,) = await other.rows(DONE)
            assert (row["model"], row["endpoint"], row["tokens_out"]) == ("others-model", "/v1/x", 6)


async def test_without_redis_requests_pass_and_spending_does_not(migrated_dsn, own_valkey, tmp_path):
    serve = partial(serving, dsn=migrated_dsn, redis_url=own_valkey.url, data_dir=tmp_path, options=())
    async with checking(serve(), requests_per_minute=10) as (checks, user):
        await checks.tier("spender", tokens_per_month=1000)
        spender = await checks.user("grace", "spender")
        assert (await checks.check(user))["allowed"]
        own_valkey.stop()
        checked = await away(checks, user)
        assert checks.headers["X-Citadel-Limits"] == "degraded"
        assert checked["allowed"]
        denied = await checks.check(spender, tokens=10)
        assert (denied["allowed"], denied["reason"], denied["degraded"]) == (False, "rate_limit_exceeded", True)
        assert int(checks.headers["Retry-After"]) >= 1
        body = {"reservation": checked["reservation"], "tokens_in": 4, "tokens_out": 6}
        assert (await checks("/v1/settle", body))[0] == 200
        rows = await checks.served.rows(DONE)
        assert [(row["user_id"], row["tokens_out"]) for row in rows] == [(user.id, 6)]


async def test_what_another_instance_granted_is_ended_through_an_outage_of_redis(migrated_dsn, own_valkey, tmp_path):
    place = {"dsn": migrated_dsn, "redis_url": own_valkey.url, "options": ()}
    async with (
        checking(serving(data_dir=tmp_path / "a", **place), concurrent=3, tokens_per_day=1000) as (checks, user),
        serving(beside=checks.served, data_dir=tmp_path / "b", **place) as other,
    ):
        there = Checks(other)
        there.service = checks.service
        granted = [(await checks.check(user, tokens=100, endpoint=f"/{n}"))["reservation"] for n in range(3)]
        own_valkey.stop()
        await away(there, user)
        body = {"reservation": granted[0], "tokens_in": 4, "tokens_out": 6}
        settled = await there("/v1/settle", body)
        assert settled == (202, {**body, "cost_usd": None, "late": None})
        assert (await there("/v1/settle", body))[0] == 404
        assert await there("/v1/release", {"reservation": granted[1]}) == (
            202,
            {"reservation": granted[1], "late": None},
        )
        renewal = {"reservation": granted[2], "ttl_s": 900, "tokens": 30}
        assert await there("/v1/renew", renewal) == (202, {"reservation": granted[2], "expires_in_s": 900})
        assert not await other.rows(DONE)
        own_valkey.start()
        await within(lambda: whole(checks, there))
        (row,) = await within(lambda: other.rows(DONE))
        assert (row["endpoint"], row["tokens_in"], row["tokens_out"]) == ("/0", 4, 6)
        assert (await checks("/v1/settle", body))[0] == 404
        answer = await there.check(user, lease=False)
        left = {one["name"]: one["remaining"] for one in answer["limits"]}
        assert left == {"concurrent": 2, "tokens_per_day": 1000 - 10 - 100}


async def within(ask):
    """What it answers once that is something."""
    async with asyncio.timeout(20):
        while not (answer := await ask()):
            await asyncio.sleep(0.05)
    return answer


async def whole(*instances):
    """Whether none decides without Redis any more, and none has settlements waiting."""
    for each in instances:
        async with each.served.client.get(each.served.url("/metrics", DOOR)) as answer:
            said = await answer.text()
        if "citadel_limits_degraded 0.0" not in said or "citadel_limits_settlements_waiting 0.0" not in said:
            return False
    return True


async def away(checks, user):
    """A check that was decided without Redis."""
    async with asyncio.timeout(10):
        while not (answer := await checks.check(user, lease=False))["degraded"]:
            await asyncio.sleep(0.05)
    return answer
