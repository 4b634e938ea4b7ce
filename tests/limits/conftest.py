"""Stores on real servers, at the servers' time or at a time that the test tells."""

import asyncio
import contextlib

import pytest
import structlog

from citadel_edge.config.shape import RedisConfig
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from servers import own_valkey, redis_url, valkey_server  # noqa: F401


@pytest.fixture
def open_pool():
    """Opens pools that are up: `async with open_pool(url) as pool`."""

    @contextlib.asynccontextmanager
    async def opened(url):
        config = RedisConfig(url=url, deadline_ms=2000)
        async with RedisPool.open(config, clock=Clock(), log=structlog.get_logger()) as pool:
            async with asyncio.timeout(60):
                await pool.wait_until_up()
            yield pool

    return opened


@pytest.fixture
async def pool(open_pool, redis_url):  # noqa: F811
    """A pool on an empty Valkey."""
    async with open_pool(redis_url) as opened:
        yield opened


@pytest.fixture
def store(pool):
    """A store at the server's time."""
    return RedisStore(pool)
