"""No reply ever reaches another caller: under cancellation, missed deadlines and a server that freezes in between."""

import asyncio
import random

from citadel_edge.errors import RedisUnavailable


async def test_cancelled_and_late_callers_leave_no_reply_to_others(open_redis, own_valkey):
    rng = random.Random(20261123)
    async with open_redis(own_valkey.url, deadline_ms=20) as pool:
        tally = {"right": 0, "late": 0, "cancelled": 0}
        freezing = asyncio.ensure_future(_freeze_now_and_then(own_valkey, rng))  # noqa: TID251 - ended below
        await asyncio.gather(*(_client(pool, number, rng, tally) for number in range(40)))
        freezing.cancel()
        await asyncio.wait({freezing})
        own_valkey.thaw()
        assert min(tally.values()) > 20, tally
        await asyncio.wait_for(pool.wait_until_up(), 20)


async def test_after_mass_cancellation_every_lane_still_answers_rightly(open_redis, own_valkey):
    async with open_redis(own_valkey.url) as pool:
        own_valkey.freeze()
        calls = [asyncio.ensure_future(pool.call("ECHO", "old")) for _ in range(300)]  # noqa: TID251 - ended below
        await asyncio.sleep(0.02)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        own_valkey.thaw()
        assert all(call.cancelled() for call in calls)
        replies = await asyncio.gather(*(pool.call("ECHO", f"new {number}") for number in range(300)))
        assert replies == [b"new %d" % number for number in range(300)]


async def test_a_closed_pool_leaves_nothing_running(open_redis, own_valkey):
    before = asyncio.all_tasks()
    async with open_redis(own_valkey.url, deadline_ms=60_000) as pool:
        own_valkey.freeze()
        call = asyncio.ensure_future(pool.call("PING"))  # noqa: TID251 - awaited below
        await asyncio.sleep(0.02)
    answer = (await asyncio.gather(call, return_exceptions=True))[0]
    assert isinstance(answer, RedisUnavailable)
    assert asyncio.all_tasks() - {call} == before - {call}


async def _client(pool, number, rng, tally):
    for turn in range(25):
        mine = f"{number}:{turn}"
        call = asyncio.ensure_future(pool.call("ECHO", mine))  # noqa: TID251 - awaited below
        if rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.004)
            call.cancel()
        try:
            assert await call == mine.encode()
            tally["right"] += 1
        except asyncio.CancelledError:
            tally["cancelled"] += 1
        except RedisUnavailable:
            tally["late"] += 1
            await asyncio.sleep(rng.random() * 0.05)


async def _freeze_now_and_then(server, rng):
    while True:
        await asyncio.sleep(rng.random() * 0.1)
        server.freeze()
        await asyncio.sleep(rng.random() * 0.08)
        server.thaw()
