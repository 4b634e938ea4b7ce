"""What every door's test needs: servers from wheels, and an edge over them."""

from functools import partial

import pytest

from edges import serving
from servers import migrated_dsn, migrated_template, postgres_server, redis_url, valkey_server

__all__ = ["migrated_dsn", "migrated_template", "postgres_server", "redis_url", "valkey_server"]


@pytest.fixture
def edge_with(migrated_dsn, redis_url, tmp_path):
    """`async with edge_with(options=…) as served`."""
    return partial(serving, dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path)
