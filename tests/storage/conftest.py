"""Pools on real servers."""

import pytest
import structlog

from citadel_edge.telemetry.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log():
    return structlog.get_logger()
