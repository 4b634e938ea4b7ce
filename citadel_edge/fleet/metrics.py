"""What the fleet shows of itself. Gauges read the rows when they are scraped: a request costs nothing here."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.fleet.table import Row

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
        self._probe_seconds = Histogram(
            "citadel_upstream_probe_seconds",
            "Time a probe took, failed ones included.",
            ["upstream"],
            registry=registry,
            buckets=_PROBE_SECONDS,
        )
        self._known: set[str] = set()

    def follow(self, rows: Iterable[Row]) -> None:
        """Show these rows and no others."""
        known = {row.id: row for row in rows}
        for gone in self._known - known.keys():
            self._forget(gone)
        for row in known.values():
            self._in_flight.labels(row.id).set_function(_reader(row, lambda row: row.in_flight))
            self._healthy.labels(row.id).set_function(_reader(row, lambda row: row.healthy))
            self._breaker.labels(row.id).set_function(_reader(row, lambda row: _STATES[row.breaker.state]))
        self._known = set(known)

    def _forget(self, upstream: str) -> None:
        for gauge in (self._in_flight, self._healthy, self._breaker, self._probe_seconds):
            gauge.remove(upstream)
        for state in BreakerState:
            self._changes.remove(upstream, state.value)

    def breaker_changed(self, breaker: str, state: BreakerState) -> None:
        """One change of state more."""
        self._changes.labels(breaker, state.value).inc()

    def probed(self, upstream: str, seconds: float) -> None:
        """One probe more."""
        self._probe_seconds.labels(upstream).observe(seconds)


def _reader(row: Row, read: Callable[[Row], float]) -> Callable[[], float]:
    return lambda: float(read(row))
