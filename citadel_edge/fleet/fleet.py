"""The fleet as the rest of the process meets it: the table, and everybody who wants to know when it changes.

Decides who is told of a change: the hub, the log, the metrics, whoever waits for capacity, and the calls that a dead
row will not answer; each change once. What changes and when is the table's and the breaker's to decide. Nothing here
awaits, for the reason given in `table`.
"""

import math
from collections.abc import Callable, Iterable
from random import random

from structlog.typing import FilteringBoundLogger

from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.fleet.breaker import BreakerChange, BreakerState, Rng
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.fleet.table import (
    BreakerEntry,
    BreakerEvent,
    Deployment,
    Health,
    HealthChange,
    Row,
    RowState,
    Scope,
    Table,
    Ticket,
    Verdict,
    lost_error,
)
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
        self._capacity: list[Callable[[], None]] = []
        self.table = Table(config.value)
        metrics.follow(self.table)
        config.watch(self._replace)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher()` whenever rows came or went."""
        self._watchers.append(watcher)

    def watch_capacity(self, watcher: Callable[[], None]) -> None:
        """Call `watcher()` whenever a place may have come free. It must be quick and must not take rows itself."""
        self._capacity.append(watcher)

    def take(
        self,
        deployment: Deployment,
        *,
        tokens_in: int = 0,
        tokens_out: int = 0,
        expected_s: float = math.inf,
        panic: bool = False,
    ) -> Ticket:
        """Begin a call; see `Table.take`."""
        ticket = self.table.take(
            deployment,
            now=self._clock.monotonic_s(),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            expected_s=expected_s,
            panic=panic,
        )
        if ticket.events:
            self._tell_breakers(ticket.row, ticket.events)
        return ticket

    def first_token(self, ticket: Ticket) -> None:
        """A stream's prefill is over. Safe to repeat."""
        self.table.first_token(ticket, now=self._clock.monotonic_s())

    def give_back(
        self,
        ticket: Ticket,
        verdict: Verdict,
        *,
        cooldown_s: float = 0.0,
        tokens_out: int | None = None,
        scope: Scope = Scope.UPSTREAM,
    ) -> None:
        """End a call; see `Table.give_back`. Safe to repeat."""
        if not ticket.open:
            return
        events = self.table.give_back(
            ticket,
            verdict,
            now=self._clock.monotonic_s(),
            rng=self._rng,
            cooldown_s=cooldown_s,
            tokens_out=tokens_out,
            scope=scope,
        )
        if events:
            self._tell_breakers(ticket.row, events)
        self._tell_capacity()

    def suspect(self, row: Row, detail: str) -> None:
        """Nobody listened at its address: no more requests until a probe succeeds."""
        self._tell_health(self.table.probe_failed(row, detail, at_once=True))

    def probe_succeeded(self, row: Row, detail: str) -> None:
        """A probe was answered well."""
        self._tell_health(self.table.probe_succeeded(row, detail, now=self._clock.monotonic_s()))

    def probe_failed(self, row: Row, detail: str, *, at_once: bool, asked: float = math.inf) -> None:
        """A probe failed; `at_once` when nobody listened. `asked`: when the first of those that fail was sent."""
        change = self.table.probe_failed(row, detail, at_once=at_once)
        self._tell_health(change)
        if change is not None:
            for ticket in self.table.lost(row, since=asked):
                if ticket.on_lost is not None:
                    ticket.on_lost(lost_error(detail))

    def trip(self, breaker_id: str, *, source: str) -> None:
        """An operator opens a breaker until `reset`.

        Raises:
            KeyError: there is none of that id.
        """
        entry = self.table.breakers[breaker_id]
        self._tell_hand(entry, entry.breaker.trip(source))

    def reset(self, breaker_id: str, *, source: str) -> None:
        """An operator closes a breaker.

        Raises:
            KeyError: there is none of that id.
        """
        entry = self.table.breakers[breaker_id]
        self._tell_hand(entry, entry.breaker.reset(source))
        self._tell_capacity()

    def set_row(self, upstream_id: str, *, weight: float | None, state: RowState, source: str) -> None:
        """An operator changes a row, both values as they shall be. `weight` None: its deployments' own.

        Raises:
            KeyError: there is none of that id.
        """
        row = self.table.rows[upstream_id]
        row.weight, row.state, row.source = weight, state, source
        payload = {"upstream": row.id, "health": row.health.value, "state": state.value, "weight": weight}
        self._hub.publish(Topic.HEALTH, {**payload, "source": source})
        self._log.info("upstream changed", **payload, source=source)
        self._tell_capacity()

    def _replace(self, config: Config) -> None:
        self.table.replace(config)
        self._metrics.follow(self.table)
        for watcher in self._watchers:
            watcher()
        self._tell_capacity()

    def _tell_capacity(self) -> None:
        for watcher in self._capacity:
            watcher()

    def _tell_hand(self, entry: BreakerEntry, change: BreakerChange | None) -> None:
        if change is not None:
            self._tell_breaker(BreakerEvent(entry.id, change), source=entry.breaker.source)

    def _tell_breakers(self, row: Row, events: Iterable[BreakerEvent]) -> None:
        if self.table.holds(row):
            for event in events:
                self._tell_breaker(event)

    def _tell_breaker(self, event: BreakerEvent, source: str | None = None) -> None:
        change = event.change
        if change.capped:
            self._metrics.breaker_capped(event.breaker)
            self._log.warning("breaker kept closed: too many others are open", breaker=event.breaker)
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
        if change.new is Health.HEALTHY:
            self._tell_capacity()
