"""Stores on real servers, at the servers' time or at a time that the test tells."""

import asyncio
import contextlib
import shutil

import pytest
import structlog

from citadel_edge.config.shape import RedisConfig
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from servers import Valkey, own_valkey, redis_url, short_directory, valkey_server  # noqa: F401


class Redis(Valkey):
    """The other program that speaks so."""

    def __init__(self, directory, program):
        super().__init__(directory)
        self._command[0] = program


@pytest.fixture(scope="session")
def redis_server():
    """The session's Redis 7."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("the limiter's scripts were not tried on Redis: apt-get install redis-server")
    with short_directory() as directory:
        server = Redis(directory, program)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session", params=["valkey", "redis"])
def each_server(request):
    """The session's server, of each kind that the limiter's scripts run on."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def each_url(each_server):
    """The URL of an empty server of each kind."""
    each_server.say("FLUSHALL")
    return each_server.url


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
async def each_pool(open_pool, each_url):
    """A pool on an empty server of each kind."""
    async with open_pool(each_url) as opened:
        yield opened


@pytest.fixture
def store(pool):
    """A store at the server's time."""
    return RedisStore(pool)
