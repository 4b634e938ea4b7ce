"""The ledger's metric families. Names and label sets; who counts is `ledger` and `carrier`."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from citadel_edge.accounts.ledger.event import Outcome

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LedgerMetrics:
    """Families on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._rows = Counter(
            "citadel_ledger_rows", "Requests recorded in the usage ledger", ["listener", "outcome"], registry=registry
        )
        self._of: dict[tuple[str, Outcome], Counter] = {}
        self.carried = Counter("citadel_ledger_carried", "Rows carried to PostgreSQL", registry=registry)
        self.quarantined = Counter(
            "citadel_ledger_quarantined", "Rows set aside: corrupt or refused", ["reason"], registry=registry
        )
        self.torn = Counter("citadel_ledger_torn", "Unfinished last lines skipped after a crash", registry=registry)
        self.failures = Counter(
            "citadel_ledger_carry_failures", "Batches that PostgreSQL did not take", registry=registry
        )
        self.carry_seconds = Histogram(
            "citadel_ledger_carry_seconds", "Time to carry one batch", buckets=_SECONDS, registry=registry
        )

    def recorded(self, listener: str, outcome: Outcome, count: int) -> None:
        """So many requests were recorded."""
        counter = self._of.get((listener, outcome))
        if counter is None:
            counter = self._of[listener, outcome] = self._rows.labels(listener, outcome.value)
        counter.inc(count)

    def watch(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """A gauge `citadel_ledger_<name>` that is asked when it is rendered, maybe in another thread."""
        Gauge(f"citadel_ledger_{name}", documentation, registry=self._registry).set_function(value)
