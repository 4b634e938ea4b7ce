"""What tests with other people's clients need: an edge over servers from wheels, Node and Chromium."""

from functools import partial

import pytest

from clients.programs import Missing, browser, node_in
from edges import serving
from servers import migrated_dsn, migrated_template, postgres_server, redis_url, valkey_server

__all__ = ["migrated_dsn", "migrated_template", "postgres_server", "redis_url", "valkey_server"]


@pytest.fixture
def edge_with(migrated_dsn, redis_url, tmp_path):
    """`async with edge_with(options=…) as served`."""
    return partial(serving, dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path)


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """Node with the packages of the lock."""
    try:
        return node_in(tmp_path_factory.mktemp("node"))
    except Missing as error:
        pytest.skip(f"not tried on npm's clients: {error}")


@pytest.fixture(scope="session")
def chromium():
    """The path of a headless Chromium."""
    try:
        return browser()
    except Missing as error:
        pytest.skip(f"not tried in a browser: {error}")
