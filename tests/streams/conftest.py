"""Servers for the stream log."""

import pytest

from servers import own_valkey, redis_url, running_valkey, valkey_server  # noqa: F401


@pytest.fixture
def valkey_with_file():
    """A Valkey that has on disk what it has acknowledged."""
    with running_valkey("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server
