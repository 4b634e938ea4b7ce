"""What the log counts of itself: lines lost. Read when someone scrapes, so that logging pays nothing for it."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class LogMetrics(Collector):
    """`citadel_log_lost_lines_total`. `lost` is read in another thread: `lambda: logs.lost`."""

    def __init__(self, registry: CollectorRegistry, *, lost: Callable[[], int]) -> None:
        self._lost = lost
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """The family without its figure: the registry asks for the name."""
        return (CounterMetricFamily("citadel_log_lost_lines", "Log lines lost to a slow stream or a full disk."),)

    def collect(self) -> Iterable[Metric]:
        """The family as of now."""
        return (
            CounterMetricFamily(
                "citadel_log_lost_lines", "Log lines lost to a slow stream or a full disk.", value=self._lost()
            ),
        )
