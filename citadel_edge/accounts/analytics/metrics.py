"""The rollups' metric families."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RollupMetrics:
    """Families on one registry. What waits is the same for all instances of one database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = Gauge(
            "citadel_analytics_waiting_rows", "Ledger rows that the rollups do not hold yet", registry=registry
        )
        self._oldest = Gauge(
            "citadel_analytics_waiting_oldest_seconds", "For how long the oldest of them waits", registry=registry
        )
        self.rolled = Counter(
            "citadel_analytics_rolled", "Ledger rows that this process took into the rollups", registry=registry
        )
        self.failures = Counter(
            "citadel_analytics_failures", "Attempts to roll up usage that failed", registry=registry
        )
        self.seconds = Histogram(
            "citadel_analytics_fold_seconds", "Time to take some rows in", buckets=_SECONDS, registry=registry
        )

    def waiting(self, rows: int, oldest_s: float) -> None:
        """What was last seen in the queue."""
        self._rows.set(rows)
        self._oldest.set(oldest_s)
