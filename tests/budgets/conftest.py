"""A budget small enough to fill, with its metrics."""

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from citadel_edge.budgets.budget import Budget
from citadel_edge.budgets.metrics import BudgetMetrics
from citadel_edge.config.shape import BudgetConfig, ListenerName
from citadel_edge.telemetry.clock import Clock


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def make_budget(registry: CollectorRegistry) -> Callable[..., Budget]:
    metrics = BudgetMetrics(registry)

    def make(listener: ListenerName = ListenerName.ROUTING, **config: float) -> Budget:
        return Budget(listener, BudgetConfig(**config), clock=Clock(), metrics=metrics)

    return make
