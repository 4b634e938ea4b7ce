"""Servers for the stream log."""

import pytest

from servers import own_valkey, redis_url, running_valkey, valkey_server  # noqa: F401


@pytest.fixture
def valkey_with_file():
    """A Valkey that keeps what it is told, as the embedded one does."""
    with running_valkey("--appendonly", "yes", "--appendfsync", "everysec") as server:
        yield server
