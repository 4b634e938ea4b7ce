"""What tests of processes share: servers from wheels, and one embedded edge's home, whose model is prepared once."""

import pytest

from processes import EdgeProcess
from servers import migrated_dsn, migrated_template, postgres_server, redis_url, valkey_server

__all__ = ["migrated_dsn", "migrated_template", "postgres_server", "redis_url", "valkey_server"]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("edge")


@pytest.fixture
def edge(home):
    return EdgeProcess(home)
