"""What the fleet shows of itself. Gauges read the rows when they are scraped: a request costs nothing here."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from citadel_edge.fleet.breaker import Breaker, BreakerState
from citadel_edge.fleet.row import Row
from citadel_edge.fleet.table import Table

_STATES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
_PROBE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class FleetMetrics:
    """`citadel_upstream_*` and `citadel_breaker_*`, one series a replica."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, label: str = "upstream") -> Gauge:
            return Gauge(name, text, [label], registry=registry)

        self._in_flight = gauge("citadel_upstream_in_flight", "Requests taken and not given back.")
        self._healthy = gauge("citadel_upstream_healthy", "1 while the probes succeed.")
        self._breaker = gauge("citadel_breaker_state", "0 closed, 1 half open, 2 open.", "breaker")
        self._changes = Counter("citadel_breaker_changes", "Changes of state.", ["breaker", "state"], registry=registry)
        self._capped = Counter(
            "citadel_breaker_capped",
            "Times it stayed closed because too many were open.",
            ["breaker"],
            registry=registry,
        )
        self._probe_seconds = Histogram(
            "citadel_upstream_probe_seconds",
            "Time a probe took, failed ones included.",
            ["upstream"],
            registry=registry,
            buckets=_PROBE_SECONDS,
        )
        self._known: set[str] = set()
        self._guards: set[str] = set()

    def follow(self, table: Table) -> None:
        """Show this table's rows and breakers and no others."""
        for gone in self._known - table.rows.keys():
            for gauge in (self._in_flight, self._healthy, self._probe_seconds):
                gauge.remove(gone)
        for gone in self._guards - table.breakers.keys():
            self._forget_breaker(gone)
        for row in table.rows.values():
            self._in_flight.labels(row.id).set_function(_reader(row, lambda row: row.in_flight))
            self._healthy.labels(row.id).set_function(_reader(row, lambda row: row.healthy))
        for entry in table.breakers.values():
            self._breaker.labels(entry.id).set_function(_state(entry.breaker))
        self._known, self._guards = set(table.rows), set(table.breakers)

    def _forget_breaker(self, breaker: str) -> None:
        self._breaker.remove(breaker)
        self._capped.remove(breaker)
        for state in BreakerState:
            self._changes.remove(breaker, state.value)

    def breaker_capped(self, breaker: str) -> None:
        """It should have opened, and did not because too many others are open."""
        self._capped.labels(breaker).inc()

    def breaker_changed(self, breaker: str, state: BreakerState) -> None:
        """One change of state more."""
        self._changes.labels(breaker, state.value).inc()

    def probed(self, upstream: str, seconds: float) -> None:
        """One probe more."""
        self._probe_seconds.labels(upstream).observe(seconds)


def _reader(row: Row, read: Callable[[Row], float]) -> Callable[[], float]:
    return lambda: float(read(row))


def _state(breaker: Breaker) -> Callable[[], float]:
    return lambda: float(_STATES[breaker.state])
