"""Instances count each other, whatever dies."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import structlog

from citadel_edge.config.shape import RedisConfig
from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage import instances
from citadel_edge.storage.instances import KEY, Instances
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock


@asynccontextmanager
async def pool(url):
    async with RedisPool.open(RedisConfig(url=url, deadline_ms=2000), clock=Clock(), log=structlog.get_logger()) as it:
        yield it


def instance(redis, name):
    return Instances(redis, identity=name, log=structlog.get_logger())


async def test_each_counts_all_and_one_that_ends_is_gone_at_once(redis_url):
    async with pool(redis_url) as redis, asyncio.TaskGroup() as group:
        one, two = instance(redis, "one"), instance(redis, "two")
        assert one.alive == 1
        await one.beat()
        leaving = group.create_task(two.run())
        async with asyncio.timeout(10):
            while one.alive != 2:
                await one.beat()
                await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.wait({leaving})
        await one.beat()
        assert one.alive == 1


async def test_one_that_fell_silent_stops_counting(redis_url, monkeypatch):
    monkeypatch.setattr(instances, "SILENT_S", 1)
    async with pool(redis_url) as redis:
        one, two = instance(redis, "one"), instance(redis, "two")
        await two.beat()
        await one.beat()
        assert one.alive == 2
        async with asyncio.timeout(20):
            while one.alive != 1:
                await asyncio.sleep(0.1)
                await one.beat()


async def test_the_last_count_holds_while_redis_is_away(own_valkey):
    async with pool(own_valkey.url) as redis:
        one, two = instance(redis, "one"), instance(redis, "two")
        await two.beat()
        await one.beat()
        own_valkey.stop()
        with pytest.raises(RedisUnavailable):
            await one.beat()
        assert one.alive == 2
        own_valkey.start()
        async with asyncio.timeout(20):
            await redis.wait_until_up()
            await one.beat()
        assert one.alive == 1  # the server forgot; the other says so itself when it lives


async def test_nothing_is_left_behind_for_ever(redis_url):
    async with pool(redis_url) as redis:
        await instance(redis, "one").beat()
        assert 0 < int(await redis.call("TTL", KEY)) <= 2 * instances.SILENT_S
