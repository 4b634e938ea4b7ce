"""An accounts desk on real servers."""

import asyncio
import contextlib
from dataclasses import dataclass

import pytest
import structlog

from citadel_edge.accounts.api_keys import NewApiKey
from citadel_edge.accounts.bootstrap import UNLIMITED, bootstrap
from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.desk import Actor
from citadel_edge.accounts.directory import Directory
from citadel_edge.accounts.users import NewUser
from citadel_edge.config.shape import Config, PostgresConfig, RedisConfig
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from servers import (  # noqa: F401 - fixtures
    migrated_dsn,
    migrated_template,
    own_postgres,
    own_valkey,
    postgres_dsn,
    postgres_server,
    redis_url,
    valkey_server,
)

BY = Actor(who="usr_tester", key_id="key_tester", request_id="req_1")
GENEROUS_MS = 2000.0


class Watch(Clock):
    """A clock whose monotonic time a test moves on."""

    def __init__(self):
        object.__setattr__(self, "ahead", [0.0])

    def monotonic_s(self):
        return super().monotonic_s() + self.ahead[0]

    __slots__ = ("ahead",)


@dataclass
class Instance:
    """What one process of the product has of accounts."""

    postgres: PostgresPool
    redis: RedisPool
    directory: Directory
    changes: Changes
    clock: Watch

    async def user_with_key(self, name="ada", **fields):
        user = await self.changes.create_user(NewUser(name=name, tier=fields.pop("tier", UNLIMITED.name)), by=BY)
        made = await self.changes.create_key(user.id, NewApiKey(**fields), env="test", by=BY)
        return user, made

    async def hears(self):
        async with asyncio.timeout(30):
            while not (self.directory._by_postgres.subscribed and self.directory._by_redis.subscribed):
                await asyncio.sleep(0.01)


@pytest.fixture
def by():
    """Who changes things in these tests."""
    return BY


@pytest.fixture
def open_instance():
    """Opens instances: `async with open_instance(dsn, url) as instance`."""

    @contextlib.asynccontextmanager
    async def opened(dsn, url, *, listening=True, deadline_s=5.0):
        clock, log = Watch(), structlog.get_logger()
        config = RedisConfig(url=url, deadline_ms=GENEROUS_MS)
        async with (
            PostgresPool.open(PostgresConfig(dsn=dsn, deadline_s=deadline_s), clock=clock, log=log) as postgres,
            RedisPool.open(config, clock=clock, log=log) as redis,
        ):
            directory = Directory(postgres, redis, clock=clock, log=log)
            changes = Changes(postgres=postgres, redis=redis, directory=directory, clock=clock)
            worker = asyncio.ensure_future(directory.run()) if listening else None  # noqa: TID251 - ended below
            try:
                yield Instance(postgres, redis, directory, changes, clock)
            finally:
                if worker is not None:
                    worker.cancel()
                    await asyncio.wait({worker})

    return opened


@pytest.fixture
async def instance(open_instance, migrated_dsn, redis_url):  # noqa: F811 - fixtures
    """An instance after a first start."""
    async with open_instance(migrated_dsn, redis_url) as opened:
        await bootstrap(opened.postgres, Config(environment="production"), opened.clock)
        await opened.hears()
        yield opened
