"""Instances that count each other through a real server."""

import asyncio
import contextlib

import pytest
from redis.exceptions import ResponseError

from citadel_edge.storage.instances import KEY, Instances
from servers import running_valkey

BEAT_S = 0.02
EXPIRY_S = 1.0


@pytest.fixture
def instance(open_redis):
    """A running instance on its own pool: `async with instance(url) as instance`. Its task may be killed."""

    @contextlib.asynccontextmanager
    async def running(url, **options):
        async with open_redis(url) as pool, asyncio.TaskGroup() as group:
            one = Instances(pool, **{"beat_s": BEAT_S, "expiry_s": EXPIRY_S, **options})
            task = group.create_task(one.run())
            try:
                yield one
            finally:
                task.cancel()

    return running


async def until(true):
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def test_one_is_alone(instance, redis_url):
    async with instance(redis_url) as one:
        assert (one.alive, one.last_known) == (1, 1)
        await asyncio.sleep(5 * BEAT_S)
        assert one.alive == 1


async def test_two_and_three_see_each_other(instance, redis_url):
    async with instance(redis_url) as a, instance(redis_url) as b:
        await until(lambda: a.alive == b.alive == 2)
        async with instance(redis_url) as c:
            await until(lambda: a.alive == b.alive == c.alive == 3)
        await until(lambda: a.alive == b.alive == 2)
        assert len({a.name, b.name, c.name}) == 3


async def test_one_that_leaves_is_not_waited_for(instance, redis_url, valkey_server):
    async with instance(redis_url, expiry_s=3600) as a:
        async with instance(redis_url, expiry_s=3600):
            await until(lambda: a.alive == 2)
        await until(lambda: a.alive == 1)
    assert valkey_server.say("EXISTS", KEY) == b":0\r\n"


async def test_one_that_is_killed_is_counted_until_it_expires(instance, open_redis, redis_url):
    async with instance(redis_url) as a, open_redis(redis_url) as pool:
        killed = Instances(pool, expiry_s=EXPIRY_S)
        await killed.beat()  # its last one
        assert killed.alive == 2
        await until(lambda: a.alive == 2)
        await until(lambda: a.alive == 1)


async def test_one_whose_task_ends_says_one(open_redis, redis_url):
    async with open_redis(redis_url) as pool:
        a, b = Instances(pool), Instances(pool)
        await a.beat()
        await b.beat()
        task = asyncio.ensure_future(b.run())  # noqa: TID251 - ended below
        await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert b.alive == 1


async def test_without_redis_one_is_alone_and_comes_in_when_it_is_there(instance, own_valkey):
    own_valkey.stop()
    async with instance(own_valkey.url) as a, instance(own_valkey.url) as b:
        await asyncio.sleep(3 * BEAT_S)
        assert (a.alive, b.alive) == (1, 1)
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: a.alive == b.alive == 2)


async def test_redis_goes_and_comes_back(instance, own_valkey):
    async with instance(own_valkey.url) as a, instance(own_valkey.url) as b:
        await until(lambda: a.alive == b.alive == 2)
        await asyncio.to_thread(own_valkey.stop)
        await until(lambda: a.alive == b.alive == 1)
        assert (a.last_known, b.last_known) == (2, 2)
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: a.alive == b.alive == 2)


async def test_a_frozen_redis_holds_up_nothing(own_valkey, open_redis):
    async with open_redis(own_valkey.url, deadline_ms=100) as pool:
        one = Instances(pool)
        await one.beat()
        own_valkey.freeze()
        async with asyncio.timeout(5):
            await one.beat()
            await one._leave()
        assert one.alive == 1
        own_valkey.thaw()


async def test_an_entry_from_the_future_is_no_instance(instance, redis_url, valkey_server):
    """The server's clock was set back: what was written before would never expire."""
    valkey_server.say("ZADD", KEY, "99999999999999", "ghost")
    async with instance(redis_url) as one:
        await asyncio.sleep(3 * BEAT_S)
        assert one.alive == 1
        assert valkey_server.say("ZSCORE", KEY, "ghost") in (b"$-1\r\n", b"_\r\n")


async def test_nothing_stays_when_nobody_is_left(open_redis, redis_url, valkey_server):
    async with open_redis(redis_url) as pool:
        await Instances(pool, expiry_s=0.1).beat()
    await asyncio.sleep(0.5)
    assert valkey_server.say("EXISTS", KEY) == b":0\r\n"


async def test_a_beat_is_one_round_trip(open_redis):
    with running_valkey() as server:
        async with open_redis(server.url) as pool:
            one = Instances(pool)
            await one.beat()
            server.say("CONFIG", "RESETSTAT")
            for _ in range(10):
                await one.beat()
            stats = server.say("INFO", "commandstats").decode()
        assert "cmdstat_eval:calls=10," in stats


async def test_a_key_of_somebody_else_is_not_hidden(open_redis, redis_url, valkey_server):
    valkey_server.say("SET", KEY, "text")
    async with open_redis(redis_url) as pool:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await Instances(pool).beat()
