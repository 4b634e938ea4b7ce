"""Pools on real servers."""

import pytest
import structlog

from citadel_edge.config.shape import PostgresConfig, RedisConfig
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from ports import free_ports
from servers import own_postgres, own_valkey, postgres_dsn, postgres_server, redis_url, valkey_server  # noqa: F401

GENEROUS_MS = 5000.0
"""A deadline that only a server that is away runs into, on a busy machine too."""


@pytest.fixture
def log():
    return structlog.get_logger()


@pytest.fixture
def open_redis(log):
    """Opens pools: `async with open_redis(url) as pool`."""

    def opened(url, *, deadline_ms=GENEROUS_MS, **fields):
        return RedisPool.open(RedisConfig(url=url, deadline_ms=deadline_ms, **fields), clock=Clock(), log=log)

    return opened


@pytest.fixture
def open_postgres(log):
    """Opens pools: `async with open_postgres(dsn) as pool`."""

    def opened(dsn, **fields):
        return PostgresPool.open(PostgresConfig(dsn=dsn, **fields), clock=Clock(), log=log)

    return opened


@pytest.fixture
def free_port():
    """A TCP port of loopback that nobody listens on."""
    return free_ports(1)[0]
