"""What the budgets show: `citadel_listener_*`, each labelled with its listener.

Decides the families. The figures are read from the budgets when someone scrapes, so that admitting a request costs no
metric; only those who had to wait observe a histogram. Scrapes run in a thread: snapshots are plain reads.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypedDict

from prometheus_client import CollectorRegistry, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from citadel_edge.config.shape import ListenerName

_BUCKETS: Final = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Snapshot(TypedDict):
    """The state of one budget. Bytes in bytes, everything else in counts; `shed` by reason, since the start."""

    tasks: int
    queued: int
    bytes: int
    spawned: int
    storage_bytes: int
    admitted: int
    shed: dict[str, int]
    limits: dict[str, int]


class BudgetMetrics(Collector):
    """The families of all budgets that are added to it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._snapshots: dict[ListenerName, Callable[[], Snapshot]] = {}
        self._queue_seconds = Histogram(
            "citadel_listener_queue_seconds",
            "How long those who had to wait for a seat waited, seated or not.",
            ["listener"],
            buckets=_BUCKETS,
            registry=registry,
        )
        registry.register(self)

    def add(self, listener: ListenerName, snapshot: Callable[[], Snapshot]) -> Callable[[float], None]:
        """Show this budget from now on; answers where to tell seconds of waiting."""
        self._snapshots[listener] = snapshot
        return self._queue_seconds.labels(listener.value).observe

    def describe(self) -> Iterable[Metric]:
        """The families without figures: the registry asks for their names."""
        return _families({})

    def collect(self) -> Iterable[Metric]:
        """The families as of now."""
        return _families({listener: snapshot() for listener, snapshot in tuple(self._snapshots.items())})


def _families(budgets: dict[ListenerName, Snapshot]) -> Iterator[Metric]:
    yield _gauge("tasks", "Seats taken by requests.", budgets, lambda budget: budget["tasks"])
    yield _gauge("queue", "Requests that wait for a seat.", budgets, lambda budget: budget["queued"])
    yield _gauge("bytes", "Bytes held in memory for requests.", budgets, lambda budget: budget["bytes"])
    yield _gauge("storage_bytes", "Bytes kept on disk.", budgets, lambda budget: budget["storage_bytes"])
    yield _gauge(
        "spawned_tasks", "Tasks that requests started and that run.", budgets, lambda budget: budget["spawned"]
    )
    requests = CounterMetricFamily("citadel_listener_requests", "Requests that got a seat.", labels=["listener"])
    shed = CounterMetricFamily("citadel_listener_shed", "Requests turned away.", labels=["listener", "reason"])
    limit = GaugeMetricFamily("citadel_listener_limit", "The configured bounds.", labels=["listener", "resource"])
    for listener, budget in budgets.items():
        requests.add_metric([listener], budget["admitted"])
        for reason, count in budget["shed"].items():
            shed.add_metric([listener, reason], count)
        for resource, bound in budget["limits"].items():
            limit.add_metric([listener, resource], bound)
    yield from (requests, shed, limit)


def _gauge(
    name: str, help_text: str, budgets: dict[ListenerName, Snapshot], figure: Callable[[Snapshot], int]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"citadel_listener_{name}", help_text, labels=["listener"])
    for listener, budget in budgets.items():
        family.add_metric([listener], figure(budget))
    return family
