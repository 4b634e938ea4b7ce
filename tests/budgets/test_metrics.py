import asyncio

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as read

from citadel_edge.budgets.metrics import BudgetMetrics
from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import RequestError


@pytest.fixture
def value(registry):
    def look(name, listener="routing-api", **labels):
        return registry.get_sample_value(f"citadel_listener_{name}", {"listener": listener, **labels})

    return look


async def test_the_figures_of_the_moment_are_shown(make_budget, value):
    budget = make_budget(tasks=1, queue=1, queue_timeout_s=30)
    async with asyncio.TaskGroup() as group:
        async with budget.admit() as seat:
            seat.hold(1000)
            waiter = group.create_task(enter(budget))
            await asyncio.sleep(0)
            with pytest.raises(RequestError):
                await enter(budget)
            assert (value("tasks"), value("queue"), value("bytes")) == (1, 1, 1000)
            assert value("spawned_tasks") == 0
        await waiter
    assert (value("tasks"), value("queue"), value("bytes")) == (0, 0, 0)
    assert value("requests_total") == 2
    assert value("shed_total", reason="queue_full") == 1
    assert value("shed_total", reason="memory") == 0
    assert value("queue_seconds_count") == 1
    assert value("limit", resource="tasks") == 1
    assert value("storage_bytes") == 0


async def enter(budget):
    async with budget.admit():
        return


def test_each_listener_has_its_own_series_from_the_start(make_budget, registry):
    make_budget()
    make_budget(ListenerName.GRAPHQL)
    written = generate_latest(registry).decode()
    families = {family.name: family for family in read(written) if not family.name.endswith("_created")}
    assert set(families) == {
        f"citadel_listener_{name}"
        for name in ("tasks", "queue", "bytes", "storage_bytes", "spawned_tasks", "requests", "shed", "limit")
    } | {"citadel_listener_queue_seconds"}
    for family in families.values():
        assert {sample.labels["listener"] for sample in family.samples} == {"routing-api", "graphql-api"}


def test_a_registry_takes_the_families_once(registry):
    BudgetMetrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        BudgetMetrics(registry)
