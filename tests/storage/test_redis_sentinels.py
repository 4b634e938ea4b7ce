"""Whom sentinels name is asked, and nobody else."""

import asyncio

import pytest

from citadel_edge.config.addresses import Address
from citadel_edge.config.shape import RedisConfig
from citadel_edge.config.urls import redis_target
from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.redis_sentinels import Sentinels
from clusters import MASTER, ignorant_sentinel, running_sentinels

QUICK_MS = 300


@pytest.fixture
def watched():
    """Servers and sentinels of one's own, none of whom thinks that another is down."""
    with running_sentinels(down_after_ms=30_000) as made:
        yield made


async def test_a_failover_is_followed_by_calls_and_by_listeners(open_redis, watched):
    async with open_redis(watched.url) as pool:
        async with asyncio.timeout(30):
            await pool.wait_until_up()
        assert await pool.call("SET", "k", "before") == b"OK"
        assert await _port_of(pool) == watched.primary.port
        heard, subscribed = [], []
        listener = pool.listener("news", heard.append, lambda: subscribed.append(1))
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listener.run())
            await _until(lambda: listener.subscribed)
            await asyncio.to_thread(watched.fail_over)
            await _until_asked(pool, watched.replica)
            await _until(lambda: len(subscribed) > 1 and listener.subscribed)
            await asyncio.to_thread(watched.primary.stop)
            await pool.publish("news", "heard")
            await _until(lambda: heard == [b"heard"])
            listening.cancel()


async def test_a_primary_that_thaws_after_its_failover_is_not_asked_again(open_redis):
    with running_sentinels() as watched:
        async with open_redis(watched.url, deadline_ms=QUICK_MS) as pool:
            await _until_asked(pool, watched.primary)
            watched.primary.freeze()
            with pytest.raises(RedisUnavailable):
                await pool.call("PING")
            await _until_asked(pool, watched.replica)
            watched.primary.thaw()
            for _ in range(100):
                assert await _port_of(pool) == watched.replica.port
                await asyncio.sleep(0.002)


async def test_a_sentinel_that_knows_of_no_failover_misleads_nobody(watched):
    new = Address("127.0.0.1", watched.replica.port)
    await asyncio.to_thread(watched.fail_over)
    with ignorant_sentinel() as ignorant:
        sentinels = Sentinels(
            redis_target(RedisConfig(url=watched.url.replace("://", f"://{ignorant.address},"))), None
        )
        try:
            async with asyncio.timeout(60):
                while await sentinels.primary() != new:
                    await asyncio.sleep(0.05)
            for sentinel in watched.sentinels:
                sentinel.freeze()
            for _ in range(2):
                assert await sentinels.primary() == new
        finally:
            await sentinels.close()


async def test_the_primary_is_asked_although_no_sentinel_answers(open_redis, watched):
    async with open_redis(watched.url, deadline_ms=QUICK_MS) as pool:
        await _until_asked(pool, watched.primary)
        for sentinel in watched.sentinels:
            await asyncio.to_thread(sentinel.stop)
        await asyncio.sleep(1.5)
        assert await _port_of(pool) == watched.primary.port


async def test_a_name_that_no_sentinel_knows_is_said(open_redis, watched):
    async with open_redis(watched.url.replace(MASTER, "other")) as pool:
        with pytest.raises(RedisUnavailable, match=r"know no primary of this name: check redis\.url"):
            await pool.call("PING")


async def _port_of(pool):
    return int(bytes(await pool.call("INFO", "server")).split(b"tcp_port:")[1].split()[0])


async def _until_asked(pool, node):
    async with asyncio.timeout(60):
        while True:
            try:
                if await pool.call("SET", "k", "x") and await _port_of(pool) == node.port:
                    return
            except RedisUnavailable:
                pass
            await asyncio.sleep(0.02)


async def _until(fact):
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0.01)
