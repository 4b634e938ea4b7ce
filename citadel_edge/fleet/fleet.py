"""The fleet as the rest of the process meets it: the table, and everybody who wants to know when it changes.

Decides who is told of a change: the hub, the log, the metrics; each change once. What changes and when is the table's
and the breaker's to decide. Nothing here awaits, for the reason given in `table`.
"""

from collections.abc import Callable
from random import random

from structlog.typing import FilteringBoundLogger

from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.fleet.breaker import BreakerChange, BreakerState, Rng
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.fleet.table import Health, HealthChange, Row, Table, Ticket, Verdict
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic


class Fleet:
    """One object a process. Rows are taken and given back through it."""

    def __init__(
        self,
        config: Live[Config],
        *,
        clock: Clock,
        hub: Hub,
        log: FilteringBoundLogger,
        metrics: FleetMetrics,
        rng: Rng = random,
    ) -> None:
        self._clock = clock
        self._hub = hub
        self._log = log
        self._metrics = metrics
        self._rng = rng
        self._watchers: list[Callable[[], None]] = []
        self.table = Table(config.value)
        metrics.follow(self.table.rows.values())
        config.watch(self._replace)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher()` whenever rows came or went."""
        self._watchers.append(watcher)

    def take(self, row: Row) -> Ticket:
        """Begin a call on a row whose breaker admits it."""
        ticket = self.table.take(row, now=self._clock.monotonic_s())
        if ticket.change:
            self._tell_breaker(row, ticket.change)
        return ticket

    def give_back(self, ticket: Ticket, verdict: Verdict, *, cooldown_s: float = 0.0) -> None:
        """End a call. Safe to repeat."""
        now = self._clock.monotonic_s()
        change = self.table.give_back(ticket, verdict, now=now, rng=self._rng, cooldown_s=cooldown_s)
        if change:
            self._tell_breaker(ticket.row, change)

    def suspect(self, row: Row, detail: str) -> None:
        """Nobody listened at its address: no more requests until a probe succeeds."""
        self._tell_health(self.table.probe_failed(row, detail, at_once=True))

    def probe_succeeded(self, row: Row, detail: str) -> None:
        """A probe was answered well."""
        self._tell_health(self.table.probe_succeeded(row, detail))

    def probe_failed(self, row: Row, detail: str, *, at_once: bool) -> None:
        """A probe failed; `at_once` when nobody listened."""
        self._tell_health(self.table.probe_failed(row, detail, at_once=at_once))

    def _replace(self, config: Config) -> None:
        self.table.replace(config)
        self._metrics.follow(self.table.rows.values())
        for watcher in self._watchers:
            watcher()

    def _tell_breaker(self, row: Row, change: BreakerChange) -> None:
        self._metrics.breaker_changed(row.id, change.new)
        retry_in_s = None if change.retry_at is None else round(change.retry_at - self._clock.monotonic_s(), 3)
        payload = {"breaker": row.id, "state": change.new.value, "was": change.old.value, "retry_in_s": retry_in_s}
        self._hub.publish(Topic.BREAKERS, payload)
        tell = self._log.warning if change.new is BreakerState.OPEN else self._log.info
        tell("breaker changed", **payload)

    def _tell_health(self, change: HealthChange | None) -> None:
        if change is None or not self.table.holds(change.row):
            return
        payload = {
            "upstream": change.row.id,
            "health": change.new.value,
            "was": change.old.value,
            "detail": change.detail,
        }
        self._hub.publish(Topic.HEALTH, payload)
        tell = self._log.info if change.new is Health.HEALTHY else self._log.warning
        tell("upstream health changed", **payload)
