"""The one live table of replicas: what each is doing, and who may be given work.

**No await stands between reading and writing this table: the one loop is the lock.** Whoever looks at a row and then
takes it does so within one turn of the event loop, so two requests never see the same free place. That is why the
rows are plain mutable objects, why nothing here is `async`, and why there is no lock to forget. (Said here once.)

Decides how a row's numbers change when work is taken and given back, when a probe answers, and when the configuration
is replaced. Refuses to know the time, the network and who is told: `now` is monotonic seconds, changes are returned.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from citadel_edge.config.shape import Config, ModelConfig, UpstreamConfig
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.breaker import Breaker, BreakerChange, BreakerPolicy, Rng
from citadel_edge.fleet.breakers import BreakerEntry, breaker_id, deployment_may_trip, entries, row_may_trip
from citadel_edge.fleet.row import DEFAULT_SLOTS, BreakerEvent, Deployment, Health, Row, RowState, Ticket

__all__ = [
    "DEFAULT_SLOTS",
    "UNHEALTHY_AFTER",
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
    "lost_error",
]

UNHEALTHY_AFTER = 2


class Verdict(StrEnum):
    """What a call says of the replica that served it. NONE: nothing, the client left or the request was at fault."""

    OK = "ok"
    FAULT = "fault"
    BUSY = "busy"
    NONE = "none"


class Scope(StrEnum):
    """Of what a fault speaks: of the whole upstream, or of the one model there, where it serves several."""

    UPSTREAM = "upstream"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A row's health turned."""

    row: Row
    old: Health
    new: Health
    detail: str


class Table:
    """The rows, and which of them serve which model.

    Attributes:
        rows: by upstream id.
        leaving: rows that the configuration has no more and that still have work.
        breakers: every breaker by its public id.
    """

    def __init__(self, config: Config, *, breaker: BreakerPolicy | None = None) -> None:
        self._policy = breaker or BreakerPolicy()
        self._turn = 0
        self.rows: dict[str, Row] = {}
        self.leaving: list[Row] = []
        self.breakers: dict[str, BreakerEntry] = {}
        self._deployments: dict[str, tuple[Deployment, ...]] = {}
        self.replace(config)

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
        self._deployments = {model.name: tuple(self._serving(model, models)) for model in config.models}
        self.breakers = entries(self.rows.values(), self._deployments.items())

    def _row(self, old: Row | None, upstream: UpstreamConfig) -> Row:
        new = Row.of(upstream, Breaker(self._policy))
        if old is None:
            return new
        if (old.url, old.engine) != (new.url, new.engine):
            new.state, new.weight, new.source = old.state, old.weight, old.source
            return new
        old.api_key, old.slots = upstream.api_key, upstream.slots or DEFAULT_SLOTS
        old.gpu_hour_usd = upstream.gpu_hour_usd
        return old

    def _serving(self, model: ModelConfig, models: Counter[str]) -> Iterator[Deployment]:
        for deployment in model.deployments:
            row = self.rows[deployment.upstream]
            breaker = self._own_breaker(row, model.name) if models[row.id] > 1 else None
            yield Deployment(row, deployment.model or model.name, deployment.weight, breaker, model.name)

    def _own_breaker(self, row: Row, model: str) -> Breaker:
        """The one it had, while the row is the same."""
        for place in self._deployments.get(model, ()):
            if place.row is row and place.breaker is not None:
                return place.breaker
        return Breaker(self._policy)

    def deployments(self, model: str) -> tuple[Deployment, ...]:
        """Where the model of this name (no alias) is served; empty when there is none of that name."""
        return self._deployments.get(model, ())

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
        row, own = deployment.row, deployment.breaker
        if own is not None and not panic and not deployment.admits(now):
            raise ValueError("its breakers admit no call now: ask admits() first")
        row_stamp, change = row.breaker.enter(now, panic=panic)
        events: tuple[BreakerEvent, ...] = (BreakerEvent(row.id, change),) if change else ()
        own_stamp = 0
        if own is not None:
            own_stamp, change = own.enter(now, panic=panic)
            events += self._events(deployment, change)
        self._turn += 1
        row.turn = self._turn
        row.in_flight += 1
        ahead = row.prefilling_tokens
        row.prefilling_tokens += tokens_in
        row.reserved_tokens += tokens_in + tokens_out
        ticket = Ticket(
            row,
            deployment,
            row_stamp,
            own_stamp,
            now,
            tokens_in,
            tokens_out,
            ahead,
            row.in_flight,
            expected_s,
            events,
        )
        row.calls.add(ticket)
        return ticket

    def first_token(self, ticket: Ticket, *, now: float) -> None:
        """A stream's prefill is over. Safe to repeat."""
        if not ticket.open or ticket.first_token_at is not None:
            return
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
    ) -> tuple[BreakerEvent, ...]:
        """End a call; a second time does nothing.

        Args:
            ticket: the call's.
            verdict: what it says of its replica.
            now: monotonic seconds.
            rng: a number in [0, 1), for a back-off.
            cooldown_s: with BUSY, how long the row stays full.
            tokens_out: with OK, the answer's tokens where they are known: they teach the row's speed.
            scope: with FAULT, of what it speaks.
        """
        if not ticket.open:
            return ()
        ticket.open = False
        row = ticket.row
        row.in_flight -= 1
        row.calls.discard(ticket)
        row.reserved_tokens -= ticket.tokens_in + ticket.tokens_out
        if ticket.first_token_at is None:
            row.prefilling_tokens -= ticket.tokens_in
        if not row.in_flight and row in self.leaving:
            self.leaving.remove(row)
        match verdict:
            case Verdict.OK:
                row.answered_at = now
                if tokens_out is not None:
                    _teach(ticket, tokens_out, now)
                return self._succeeded(ticket, now)
            case Verdict.FAULT:
                row.signals.penalize(now=now)
                return self._failed(ticket, scope, now, rng)
            case Verdict.BUSY:
                row.cooling_until = max(row.cooling_until, now + cooldown_s)
        self._abandoned(ticket)
        return ()

    def _succeeded(self, ticket: Ticket, now: float) -> tuple[BreakerEvent, ...]:
        row, own = ticket.row, ticket.deployment.breaker
        change = row.breaker.succeed(ticket.row_stamp, now=now)
        events = (BreakerEvent(row.id, change),) if change else ()
        return (
            events if own is None else events + self._events(ticket.deployment, own.succeed(ticket.own_stamp, now=now))
        )

    def _failed(self, ticket: Ticket, scope: Scope, now: float, rng: Rng) -> tuple[BreakerEvent, ...]:
        place, row, own = ticket.deployment, ticket.row, ticket.deployment.breaker
        if own is not None and scope is Scope.MODEL:
            row.breaker.abandon(ticket.row_stamp)
            change = own.fail(ticket.own_stamp, now=now, rng=rng, may_trip=self._asking(place))
            return self._events(place, change)
        if own is not None:
            own.abandon(ticket.own_stamp)
        change = row.breaker.fail(ticket.row_stamp, now=now, rng=rng, may_trip=lambda: row_may_trip(self.rows.values()))
        return (BreakerEvent(row.id, change),) if change else ()

    def _abandoned(self, ticket: Ticket) -> None:
        ticket.row.breaker.abandon(ticket.row_stamp)
        if ticket.deployment.breaker is not None:
            ticket.deployment.breaker.abandon(ticket.own_stamp)

    def _asking(self, place: Deployment) -> Callable[[], bool]:
        return lambda: deployment_may_trip(self.deployments(place.name))

    def _events(self, place: Deployment, change: BreakerChange | None) -> tuple[BreakerEvent, ...]:
        return (BreakerEvent(breaker_id(place.row.id, place.name), change),) if change else ()

    def probe_succeeded(self, row: Row, detail: str, *, now: float = -math.inf) -> HealthChange | None:
        """One success is enough."""
        row.probe_failures = 0
        if not row.healthy:
            row.healthy_since = -math.inf if row.health is Health.UNKNOWN else now
            row.breaker.hurry(now)
        return self._turn_health(row, Health.HEALTHY, detail)

    def probe_failed(self, row: Row, detail: str, *, at_once: bool = False) -> HealthChange | None:
        """The second failure in a row counts, the first already when `at_once`: nobody listens there."""
        row.probe_failures += 1
        if at_once or row.probe_failures >= UNHEALTHY_AFTER:
            return self._turn_health(row, Health.UNHEALTHY, detail)
        return None

    def lost(self, row: Row, *, since: float) -> list[Ticket]:
        """The open calls of a row that have shown no byte since then."""
        return [call for call in row.calls if call.last_byte_at < since]

    def _turn_health(self, row: Row, new: Health, detail: str) -> HealthChange | None:
        old, row.health, row.health_detail = row.health, new, detail
        return None if old is new else HealthChange(row, old, new, detail)


def _teach(ticket: Ticket, tokens_out: int, now: float) -> None:
    """Tell the row's signals what a whole call took."""
    signals = ticket.row.signals
    load = (ticket.load + ticket.row.in_flight + 2) // 2  # between what it met and what it left
    if ticket.first_token_at is not None:
        signals.observe_decode(now - ticket.first_token_at, tokens=tokens_out - 1, load=load, now=now)
        return
    signals.observe_whole(
        now - ticket.taken_at,
        tokens_in=ticket.tokens_in,
        tokens_out=tokens_out,
        prefilling_tokens=ticket.prefilling_tokens,
        load=load,
        now=now,
    )


def lost_error(detail: str) -> UpstreamError:
    """What a call is told whose row's probes fail while it owes an answer."""
    return UpstreamError(UpstreamFault.LOST, f"its probes fail: {detail}")
