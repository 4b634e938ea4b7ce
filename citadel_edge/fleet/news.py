"""Who is told of a change in the fleet: the hub, the log, the metrics; each change once.

Decides the words. Refuses to know why something changed.
"""

from structlog.typing import FilteringBoundLogger

from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.fleet.row import BreakerEvent, Health, Row
from citadel_edge.fleet.vitals import HealthChange
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic


class News:
    """One object a fleet."""

    def __init__(self, *, clock: Clock, hub: Hub, log: FilteringBoundLogger, metrics: FleetMetrics) -> None:
        self._clock = clock
        self._hub = hub
        self._log = log
        self._metrics = metrics

    def breaker(self, event: BreakerEvent, *, source: str | None = None) -> None:
        """A breaker changed, by what calls said or by the hand of `source`."""
        change = event.change
        if change.capped:
            self._metrics.breaker_capped(event.breaker)
            self._log.warning("breaker stays closed: too many others are open", breaker=event.breaker)
            return
        self._metrics.breaker_changed(event.breaker, change.new)
        retry_in_s = None if change.retry_at is None else round(change.retry_at - self._clock.monotonic_s(), 3)
        payload = {
            "breaker": event.breaker,
            "state": change.new.value,
            "was": change.old.value,
            "retry_in_s": retry_in_s,
            "source": source,
        }
        self._hub.publish(Topic.BREAKERS, payload)
        tell = self._log.warning if change.new is BreakerState.OPEN else self._log.info
        tell("breaker changed", **payload)

    def health(self, change: HealthChange) -> None:
        """A row's health turned."""
        payload = {
            "upstream": change.row.id,
            "health": change.new.value,
            "was": change.old.value,
            "detail": change.detail,
        }
        self._hub.publish(Topic.HEALTH, payload)
        tell = self._log.info if change.new is Health.HEALTHY else self._log.warning
        tell("upstream health changed", **payload)

    def row(self, row: Row, *, source: str) -> None:
        """An operator changed a row."""
        payload = {
            "upstream": row.id,
            "health": row.health.value,
            "state": row.state.value,
            "weight": row.weight,
            "source": source,
        }
        self._metrics.row_changed(row.id)
        self._hub.publish(Topic.HEALTH, payload)
        self._log.info("upstream changed", **payload)

    def one_slot(self, row: Row) -> None:
        """A row gets one request at a time because nobody said otherwise."""
        self._log.warning(
            "upstream gets one request at a time: it does not say how many it serves, and that is its engine's default",
            upstream=row.id,
            engine=row.engine.value,
            setting=f"upstreams[{row.id}].slots",
        )

    def key_refused(self, row: Row) -> None:
        """A replica answered that our key is wrong."""
        self._log.warning(
            "upstream refuses its key", upstream=row.id, remedy=f"correct upstreams[{row.id}].api_key and reload"
        )
