"""One embedded edge's home for all tests of a session: the model is prepared once."""

import pytest

from processes import EdgeProcess


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("edge")


@pytest.fixture
def edge(home):
    return EdgeProcess(home)
