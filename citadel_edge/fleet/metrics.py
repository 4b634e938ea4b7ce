"""What the fleet shows of itself. Gauges read the rows when they are scraped: a request costs nothing here."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from citadel_edge.fleet.breaker import Breaker, BreakerState
from citadel_edge.fleet.row import Deployment, Health, Row, RowState
from citadel_edge.fleet.table import Table
from citadel_edge.telemetry.clock import Clock

_STATES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
_PROBE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_PROMPT_TOKENS = 512  # what the estimates of time to first token are shown for

Read = Callable[[Row, float], float]
_ROW_GAUGES: dict[str, tuple[str, Read]] = {
    "in_flight": ("Requests taken and not given back.", lambda row, _: row.in_flight),
    "slots": ("Requests that it serves at once.", lambda row, _: row.slots),
    "reserved_tokens": ("Prompt and expected output tokens in flight.", lambda row, _: row.reserved_tokens),
    "prefilling_tokens": ("Prompt tokens without a first token yet.", lambda row, _: row.prefilling_tokens),
    "healthy": ("1 while the probes succeed.", lambda row, _: row.healthy),
    "active": ("1 unless an operator drains or disables it.", lambda row, _: row.state is RowState.ACTIVE),
    "warmth": ("Share of its work in slow start, 1 when it is over.", lambda row, now: row.warmth(now)),
    "stalled_seconds": ("How far the most overdue call is past its time.", lambda row, now: row.stalled_s(now)),
    "foreign_requests": ("Requests of others there, as believed.", lambda row, now: row.gauges.foreign(now)),
    "kv_pressure": ("1 with room in its KV cache, up to 2, as believed.", lambda row, now: row.gauges.pressure(now)),
    "running": ("Requests running there, as it says.", lambda row, _: _said(row, "running")),
    "waiting": ("Requests waiting there, as it says.", lambda row, _: _said(row, "waiting")),
    "kv_usage": ("Share of its KV cache in use, as it says.", lambda row, _: _said(row, "kv")),
    "error_ratio": (
        "Failures among the calls of late, NaN without any.",
        lambda row, now: _or_nan(row.breaker.error_rate(now)),
    ),
    "probe_failures": ("Probes that failed in a row.", lambda row, _: row.probe_failures),
    "ttft_estimate_seconds": (f"Predicted for {_PROMPT_TOKENS} tokens now.", lambda row, _: _ttft_s(row)),
    "token_estimate_seconds": (
        "Predicted per output token now.",
        lambda row, _: row.signals.predict_token_s(load=row.in_flight + 1),
    ),
}


class FleetMetrics:
    """`citadel_upstream_*` and `citadel_breaker_*`, one series a replica; the imbalance, one a model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = {
            name: Gauge(f"citadel_upstream_{name}", text, ["upstream"], registry=registry)
            for name, (text, _) in _ROW_GAUGES.items()
        }
        self._breaker = Gauge("citadel_breaker_state", "0 closed, 1 half open, 2 open.", ["breaker"], registry=registry)
        self._changes = Counter("citadel_breaker_changes", "Changes of state.", ["breaker", "state"], registry=registry)
        self._capped = Counter(
            "citadel_breaker_capped", "It stayed closed as too many were open.", ["breaker"], registry=registry
        )
        self._edits = Counter("citadel_upstream_edits", "Changes made by operators.", ["upstream"], registry=registry)
        self._imbalance = Gauge(
            "citadel_load_imbalance", "Largest by mean load per weight of replicas.", ["model"], registry=registry
        )
        self._probe_seconds = Histogram(
            "citadel_upstream_probe_seconds",
            "Time a probe took, failed ones included.",
            ["upstream"],
            registry=registry,
            buckets=_PROBE_SECONDS,
        )
        self._scrapes_failed = Counter(
            "citadel_upstream_scrape_failures", "Times its load could not be read.", ["upstream"], registry=registry
        )
        self._known: set[str] = set()
        self._guards: set[str] = set()
        self._models: set[str] = set()

    def follow(self, table: Table, clock: Clock) -> None:
        """Show this table's rows, breakers and models, and no others."""
        for gone in self._known - table.rows.keys():
            self._forget_row(gone)
        for gone in self._guards - table.breakers.keys():
            self._forget_breaker(gone)
        for gone in self._models - table.models.keys():
            self._imbalance.remove(gone)
        for row in table.rows.values():
            for name, (_, read) in _ROW_GAUGES.items():
                self._rows[name].labels(row.id).set_function(_reader(row, read, clock))
        for entry in table.breakers.values():
            self._breaker.labels(entry.id).set_function(_state(entry.breaker))
        for model, places in table.models.items():
            self._imbalance.labels(model).set_function(_balance(places))
        self._known, self._guards, self._models = set(table.rows), set(table.breakers), set(table.models)

    def _forget_row(self, upstream: str) -> None:
        for metric in (*self._rows.values(), self._probe_seconds, self._edits, self._scrapes_failed):
            metric.remove(upstream)

    def _forget_breaker(self, breaker: str) -> None:
        self._breaker.remove(breaker)
        self._capped.remove(breaker)
        for state in BreakerState:
            self._changes.remove(breaker, state.value)

    def breaker_changed(self, breaker: str, state: BreakerState) -> None:
        """One change of state more."""
        self._changes.labels(breaker, state.value).inc()

    def breaker_capped(self, breaker: str) -> None:
        """It should have opened, and did not because too many others are open."""
        self._capped.labels(breaker).inc()

    def row_changed(self, upstream: str) -> None:
        """An operator changed it once more."""
        self._edits.labels(upstream).inc()

    def probed(self, upstream: str, seconds: float) -> None:
        """One probe more."""
        self._probe_seconds.labels(upstream).observe(seconds)

    def scrape_failed(self, upstream: str) -> None:
        """Its load could not be read once more."""
        self._scrapes_failed.labels(upstream).inc()


def imbalance(places: Iterable[Deployment]) -> float:
    """The largest by the mean load per weight, over those that may be used; 1.0 when it is even or there is none."""
    used = [place for place in places if place.row.health is Health.HEALTHY and place.row.state is RowState.ACTIVE]
    loads = [place.row.in_flight / place.share for place in used if place.share > 0]
    return max(loads) * len(loads) / total if (total := sum(loads)) else 1.0


def _balance(places: Sequence[Deployment]) -> Callable[[], float]:
    return lambda: imbalance(places)


def _reader(row: Row, read: Read, clock: Clock) -> Callable[[], float]:
    return lambda: float(read(row, clock.monotonic_s()))


def _state(breaker: Breaker) -> Callable[[], float]:
    return lambda: float(_STATES[breaker.state])


def _said(row: Row, what: str) -> float:
    return _or_nan(getattr(row.gauges.reading, what, None))


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _ttft_s(row: Row) -> float:
    return row.signals.predict_ttft_s(
        tokens_in=_PROMPT_TOKENS, prefilling_tokens=row.prefilling_tokens, load=row.in_flight + 1
    )
