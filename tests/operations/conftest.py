"""Databases that may go away, and instances on them."""

import pytest

from instances import opened
from servers import (
    migrated_dsn,
    migrated_template,
    own_postgres,
    own_valkey,
    postgres_dsn,
    postgres_server,
    redis_url,
    valkey_server,
)

__all__ = [
    "migrated_dsn",
    "migrated_template",
    "own_postgres",
    "own_valkey",
    "postgres_dsn",
    "postgres_server",
    "redis_url",
    "valkey_server",
]


@pytest.fixture
def instance(migrated_dsn, redis_url):
    """`async with instance() as first`."""
    return lambda *upstreams, **more: opened(migrated_dsn, redis_url, *upstreams, **more)
