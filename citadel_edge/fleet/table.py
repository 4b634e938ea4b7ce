"""The one live table of replicas: what each is doing, and who may be given work.

**No await stands between reading and writing this table: the one loop is the lock.** Whoever looks at a row and then
takes it does so within one turn of the event loop, so two requests never see the same free place. That is why the
rows are plain mutable objects, why nothing here is `async`, and why there is no lock to forget. (Said here once.)

Decides how a row's numbers change when work is taken and given back, when a probe answers, and when the configuration
is replaced. Refuses to know the time, the network and who is told: `now` is monotonic seconds, changes are returned.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum

from citadel_edge.config.shape import Config, ModelConfig, UpstreamConfig
from citadel_edge.fleet import cooling, guards, lessons, vitals
from citadel_edge.fleet.breaker import Breaker, BreakerPolicy, Rng
from citadel_edge.fleet.breakers import BreakerEntry, deployment_may_trip, entries, guarded, row_may_trip
from citadel_edge.fleet.engines.facts import Facts
from citadel_edge.fleet.guards import Events, Scope
from citadel_edge.fleet.row import BreakerEvent, Deployment, Health, Row, RowState, Ticket
from citadel_edge.fleet.vitals import HealthChange

__all__ = [
    "BreakerEntry",
    "BreakerEvent",
    "Deployment",
    "Health",
    "HealthChange",
    "Row",
    "RowState",
    "Scope",
    "Table",
    "Ticket",
    "Verdict",
]


class Verdict(StrEnum):
    """What a call says of the replica that served it. NONE: nothing, the client left or the request was at fault."""

    OK = "ok"
    FAULT = "fault"
    BUSY = "busy"
    NONE = "none"


class Table:
    """The rows, and which of them serve which model.

    Attributes:
        rows: by upstream id.
        leaving: rows that the configuration has no more and that still have work.
        breakers: every breaker by its public id.
        models: where each model is served, by its own name.
    """

    def __init__(self, config: Config, *, breaker: BreakerPolicy | None = None) -> None:
        self._policy = breaker or BreakerPolicy()
        self._turn = 0
        self._late = False
        self.rows: dict[str, Row] = {}
        self.leaving: list[Row] = []
        self.breakers: dict[str, BreakerEntry] = {}
        self.models: dict[str, tuple[Deployment, ...]] = {}
        self.replace(config)
        self._late = True

    def replace(self, config: Config) -> None:
        """Follow a configuration: rows that stay keep their state, rows that go finish what they have.

        An upstream whose address or engine changed is another server under the same name: its row starts anew.
        """
        old, self.rows = self.rows, {}
        for upstream in config.upstreams:
            self.rows[upstream.id] = self._row(old.get(upstream.id), upstream)
        gone = [row for row in old.values() if self.rows.get(row.id) is not row]
        for row in gone:
            row.state = RowState.DRAINING
        self.leaving = [row for row in (*self.leaving, *gone) if row.in_flight]
        models = Counter(one.upstream for model in config.models for one in model.deployments)
        self.models = {model.name: tuple(self._serving(model, models)) for model in config.models}
        self.breakers = entries(self.rows.values(), self._places())

    def _row(self, old: Row | None, upstream: UpstreamConfig) -> Row:
        new = Row.of(upstream, Breaker(self._policy))
        new.late = self._late
        if old is None:
            return new
        if (old.url, old.engine) != (new.url, new.engine):
            new.state, new.weight, new.source = old.state, old.weight, old.source
            return new
        if old.api_key != upstream.api_key:
            old.key_refused = False
        old.api_key, old.gpu_hour_usd = new.api_key, new.gpu_hour_usd
        old.configured_slots = new.configured_slots
        vitals.settle_slots(old)
        return old

    def _serving(self, model: ModelConfig, models: Counter[str]) -> Iterator[Deployment]:
        for deployment in model.deployments:
            row = self.rows[deployment.upstream]
            breaker = self._own_breaker(row, model.name) if models[row.id] > 1 else None
            yield Deployment(row, deployment.model or model.name, deployment.weight, breaker, model.name)

    def _own_breaker(self, row: Row, model: str) -> Breaker:
        """The one it had, while the row is the same."""
        for place in self.models.get(model, ()):
            if place.row is row and place.breaker is not None:
                return place.breaker
        return Breaker(self._policy)

    def guard(self, breaker_id: str) -> bool:
        """Give a model its own breaker where it has none, by the id that it would have; whether there is one now.

        For an operator who cuts off a model that its upstream serves alone: it lasts until the next `replace`.
        """
        for model, places in self.models.items():
            self.models[model] = tuple(guarded(place, breaker_id, self._policy) for place in places)
        self.breakers = entries(self.rows.values(), self._places())
        return breaker_id in self.breakers

    def deployments(self, model: str) -> tuple[Deployment, ...]:
        """Where the model of this name (no alias) is served; empty when there is none of that name."""
        return self.models.get(model, ())

    def holds(self, row: Row) -> bool:
        """Whether this very row is still part of the fleet."""
        return self.rows.get(row.id) is row

    def everywhere(self) -> Iterable[Row]:
        """Every row that may still have work, those that leave included."""
        return (*self.rows.values(), *self.leaving)

    def take(
        self,
        deployment: Deployment,
        *,
        now: float,
        tokens_in: int = 0,
        tokens_out: int = 0,
        expected_s: float = math.inf,
        panic: bool = False,
    ) -> Ticket:
        """Count one more call on the deployment's row, from this moment.

        Args:
            deployment: whose breakers admit it, or in a `panic` are not held by an operator.
            now: monotonic seconds.
            tokens_in: of the prompt.
            tokens_out: expected in answer.
            expected_s: predicted seconds to the first token (of a stream) or to the end (of a whole answer).
            panic: go past open breakers; a success then closes them.
        """
        row_stamp, own_stamp, events = guards.enter(deployment, now, panic=panic)
        row = deployment.row
        self._turn = row.turn = self._turn + 1
        row.in_flight += 1
        ticket = Ticket(
            row,
            deployment,
            row_stamp,
            own_stamp,
            now,
            tokens_in,
            tokens_out,
            row.prefilling_tokens,
            row.in_flight,
            expected_s,
            events,
        )
        row.prefilling_tokens += tokens_in
        row.reserved_tokens += tokens_in + tokens_out
        row.calls.add(ticket)
        cooling.taken(row, ticket, now=now)
        if expected_s != math.inf:
            row.overdue.add(ticket, now + expected_s)
        row.gauges.worked(now)
        return ticket

    def first_token(self, ticket: Ticket, *, now: float) -> Events:
        """A stream's prefill is over: breakers that waited for proof close. Safe to repeat."""
        if not ticket.open or ticket.first_token_at is not None:
            return ()
        row = ticket.row
        ticket.first_token_at = ticket.last_byte_at = row.last_byte_at = now
        row.prefilling_tokens -= ticket.tokens_in
        row.signals.observe_first_token(
            now - ticket.taken_at,
            tokens_in=ticket.tokens_in,
            prefilling_tokens=ticket.prefilling_tokens,
            load=ticket.load,
            now=now,
        )
        cooling.answered(row, ticket, now=now)
        return guards.answers(ticket)

    def give_back(
        self,
        ticket: Ticket,
        verdict: Verdict,
        *,
        now: float,
        rng: Rng,
        cooldown_s: float = 0.0,
        tokens_out: int | None = None,
        scope: Scope = Scope.UPSTREAM,
    ) -> Events:
        """End a call; a second time does nothing.

        Args:
            ticket: the call's.
            verdict: what it says of its replica.
            now: monotonic seconds.
            rng: a number in [0, 1), for a back-off.
            cooldown_s: with BUSY, for how long at least the row stays full.
            tokens_out: with OK, the answer's tokens where they are known: they teach the row's speed.
            scope: with FAULT, of what it speaks.
        """
        if not ticket.open:
            return ()
        row = ticket.row
        self._release(row, ticket)
        row.gauges.worked(now)
        if verdict is Verdict.BUSY:
            cooling.refused(row, ticket, now=now, asked_s=cooldown_s)
        else:
            cooling.ended(row, ticket, now=now, well=verdict is Verdict.OK)
        if verdict is Verdict.OK:
            row.answered_at = now
            if tokens_out is not None:
                lessons.ended(ticket, tokens_out, now=now)
            return guards.succeed(ticket, now)
        if verdict is Verdict.FAULT:
            row.signals.penalize(now=now)
            return guards.fail(ticket, scope, now=now, rng=rng, may_trip=self._may_trip)
        guards.abandon(ticket)
        return ()

    def _release(self, row: Row, ticket: Ticket) -> None:
        """What the call held goes back, once."""
        ticket.open = False
        ticket.on_lost = None
        row.in_flight -= 1
        row.calls.discard(ticket)
        row.reserved_tokens -= ticket.tokens_in + ticket.tokens_out
        if ticket.first_token_at is None:
            row.prefilling_tokens -= ticket.tokens_in
        if not row.in_flight and self.leaving and row in self.leaving:
            self.leaving.remove(row)

    def _may_trip(self, place: Deployment, scope: Scope) -> bool:
        if scope is Scope.MODEL:
            return deployment_may_trip(self.deployments(place.name))
        return row_may_trip(self.rows.values())

    def learn(self, row: Row, facts: Facts) -> None:
        """Note what a replica says of itself."""
        vitals.learn(row, facts, models=[place.model for place in self._places() if place.row is row])

    def _places(self) -> Iterator[Deployment]:
        return (place for places in self.models.values() for place in places)

    def probe_succeeded(self, row: Row, detail: str, *, now: float = -math.inf) -> HealthChange | None:
        """See `vitals.answered`. Its models' own breakers are due for a probe as well."""
        change = vitals.answered(row, detail, now=now)
        if change is not None:
            for place in self._places():
                if place.row is row and place.breaker is not None:
                    place.breaker.hurry(now)
        return change

    def probe_failed(
        self, row: Row, detail: str, *, at_once: bool = False, asked: float = math.inf
    ) -> HealthChange | None:
        """See `vitals.failed`."""
        return vitals.failed(row, detail, at_once=at_once, asked=asked)

    def lost(self, row: Row, *, now: float) -> list[Ticket]:
        """See `vitals.lost`. Calls whose model nobody else serves now keep the hope that their row goes on."""
        return [call for call in vitals.lost(row, now=now) if self._served_elsewhere(call.deployment, now)]

    def _served_elsewhere(self, place: Deployment, now: float) -> bool:
        others = (other for other in self.deployments(place.name) if other.row is not place.row)
        return any(other.row.usable(now) and other.admits(now) for other in others)
