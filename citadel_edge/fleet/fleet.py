"""The fleet as the rest of the process meets it: the table, and everybody who wants to know when it changes.

Decides nothing of its own: it asks the clock, acts on the table, and passes on what changed: to `news`, to those who
wait for capacity, and to the calls that a dead row will not answer. Nothing here awaits, for the reason given in
`table`.
"""

import math
from collections.abc import Callable
from random import random

from structlog.typing import FilteringBoundLogger

from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.breaker import BreakerChange, Rng
from citadel_edge.fleet.engines.facts import Facts
from citadel_edge.fleet.gauges import Reading
from citadel_edge.fleet.guards import Events
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.fleet.news import News
from citadel_edge.fleet.row import BreakerEvent
from citadel_edge.fleet.table import Deployment, HealthChange, Row, RowState, Scope, Table, Ticket, Verdict
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub


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
        self._metrics = metrics
        self._rng = rng
        self._watchers: list[Callable[[], None]] = []
        self._news = News(clock=clock, hub=hub, log=log, metrics=metrics)
        self._capacity_watchers: list[Callable[[], None]] = []
        self.table = Table(config.value)
        metrics.follow(self.table, clock)
        config.watch(self._replace)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher()` whenever rows came or went."""
        self._watchers.append(watcher)

    def watch_capacity(self, watcher: Callable[[], None]) -> None:
        """Call `watcher()` whenever a place may have come free, or when one does has changed.

        That is: a call ended or showed that its row has room, health or a breaker turned better, rows, weights, states
        or slots changed. It is called inside of such changes: it must be quick, and take no row itself. When a cooldown
        or a back-off ends is known beforehand, from the rows: whoever waits for that sets a timer.
        """
        self._capacity_watchers.append(watcher)

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
        """A stream's prefill is over; see `Table.first_token`. Safe to repeat."""
        tried = ticket.row.trial is ticket
        events = self.table.first_token(ticket, now=self._clock.monotonic_s())
        if events:
            self._tell_breakers(ticket.row, events)
        if events or tried:
            self._tell_capacity()

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
        self.probe_failed(row, detail, at_once=True, asked=self._clock.monotonic_s())

    def key_refused(self, row: Row) -> None:
        """It answered that our key is wrong: told once, until the key is another."""
        if row.key_refused:
            return
        row.key_refused = True
        self._news.key_refused(row)

    def probe_succeeded(self, row: Row, detail: str) -> None:
        """A probe was answered well."""
        change = self.table.probe_succeeded(row, detail, now=self._clock.monotonic_s())
        if change is not None:
            self._tell_health(change)
            self._tell_capacity()
        elif row.slots == 1 and row.slots_guessed and not row.warned:  # it was asked after the probe before this
            row.warned = True
            self._news.one_slot(row)

    def probe_failed(self, row: Row, detail: str, *, at_once: bool, asked: float) -> None:
        """A probe failed that was sent at `asked` (monotonic seconds); `at_once` when nobody listened.

        Calls that the row will hardly answer are told, each once, as long as somebody else can answer them.
        """
        change = self.table.probe_failed(row, detail, at_once=at_once, asked=asked)
        if change is not None:
            self._tell_health(change)
        for call in self.table.lost(row, now=self._clock.monotonic_s()):
            told, call.on_lost = call.on_lost, None
            if told is not None:
                told(UpstreamError(UpstreamFault.LOST, "its probes fail"))

    def scraped(self, row: Row, reading: Reading, *, own_in_flight: int) -> None:
        """A row showed its load, when it had so many requests of ours."""
        now = self._clock.monotonic_s()
        row.gauges.read(reading, now=now, own_in_flight=own_in_flight, places=row.slots)

    def learn(self, row: Row, facts: Facts) -> None:
        """A row told its slots, its models' contexts, or that it sleeps."""
        before = row.slots
        self.table.learn(row, facts)
        if row.slots > before:
            self._tell_capacity()

    def guard(self, breaker_id: str) -> bool:
        """Give a model its own breaker where it has none; see `Table.guard`."""
        if breaker_id in self.table.breakers:
            return True
        made = self.table.guard(breaker_id)
        if made:
            self._metrics.follow(self.table, self._clock)
        return made

    def trip(self, breaker_id: str, *, source: str) -> None:
        """An operator opens a breaker until `reset`; no panic goes past it.

        Raises:
            KeyError: there is none of that id.
        """
        self._tell_hand(breaker_id, self.table.breakers[breaker_id].breaker.trip(source), source)

    def reset(self, breaker_id: str, *, source: str) -> None:
        """An operator closes a breaker, whoever opened it.

        Raises:
            KeyError: there is none of that id.
        """
        self._tell_hand(breaker_id, self.table.breakers[breaker_id].breaker.reset(source), source)
        self._tell_capacity()

    def set_row(self, upstream_id: str, *, weight: float | None, state: RowState, source: str) -> None:
        """An operator changes a row: both values as they shall be. `weight` None: its deployments' own.

        Raises:
            KeyError: there is none of that id.
        """
        row = self.table.rows[upstream_id]
        row.weight, row.state, row.source = weight, state, source
        self._news.row(row, source=source)
        self._tell_capacity()

    def _replace(self, config: Config) -> None:
        self.table.replace(config)
        self._metrics.follow(self.table, self._clock)
        for watcher in self._watchers:
            watcher()
        self._tell_capacity()

    def _tell_capacity(self) -> None:
        for watcher in self._capacity_watchers:
            watcher()

    def _tell_hand(self, breaker_id: str, change: BreakerChange | None, source: str) -> None:
        if change is not None:
            self._news.breaker(BreakerEvent(breaker_id, change), source=source)

    def _tell_breakers(self, row: Row, events: Events) -> None:
        if self.table.holds(row):
            for event in events:
                self._news.breaker(event)

    def _tell_health(self, change: HealthChange) -> None:
        if self.table.holds(change.row):
            self._news.health(change)
