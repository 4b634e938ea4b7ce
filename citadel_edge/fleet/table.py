"""The one live table of replicas: what each is doing, and who may be given work.

**No await stands between reading and writing this table: the one loop is the lock.** Whoever looks at a row and then
takes it does so within one turn of the event loop, so two requests never see the same free place. That is why the
rows are plain mutable objects, why nothing here is `async`, and why there is no lock to forget. (Said here once.)

Decides how a row's numbers change when work is taken and given back, when a probe answers, and when the configuration
is replaced. Refuses to know the time, the network and who is told: `now` is monotonic seconds, changes are returned.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from citadel_edge.config.shape import Config, Engine, ModelConfig, Secret, UpstreamConfig
from citadel_edge.fleet.breaker import Breaker, BreakerChange, BreakerPolicy, Rng

UNHEALTHY_AFTER = 2
DEFAULT_SLOTS = 64


class RowState(StrEnum):
    """What the operator wants of a replica. DRAINING finishes what it has; DISABLED is not even counted on."""

    ACTIVE = "active"
    DRAINING = "draining"
    DISABLED = "disabled"


class Health(StrEnum):
    """What the probes say. UNKNOWN, before the first answer, is not healthy."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Verdict(StrEnum):
    """What a call says of the replica that served it. NONE: nothing, the client left or the request was at fault."""

    OK = "ok"
    FAULT = "fault"
    BUSY = "busy"
    NONE = "none"


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One replica. Mutable; see the module about who may change it when.

    Attributes:
        url: without the trailing slash or `/v1`.
        in_flight: requests taken and not given back, from the moment of the decision.
        cooling_until: monotonic seconds; before, the engine itself said that it is full.
        answered_at: monotonic seconds of the last call that went well.
        turn: when it was last taken, as a count over the table; the tie-break.
    """

    id: str
    url: str
    engine: Engine
    api_key: Secret | None
    slots: int
    breaker: Breaker
    state: RowState = RowState.ACTIVE
    health: Health = Health.UNKNOWN
    health_detail: str = "not probed yet"
    probe_failures: int = 0
    in_flight: int = 0
    cooling_until: float = 0.0
    answered_at: float = float("-inf")
    turn: int = 0

    @classmethod
    def of(cls, upstream: UpstreamConfig, breaker: Breaker) -> "Row":
        """A fresh row for a configured upstream."""
        return cls(
            id=upstream.id,
            url=upstream.url.rstrip("/").removesuffix("/v1"),
            engine=upstream.engine,
            api_key=upstream.api_key,
            slots=upstream.slots or DEFAULT_SLOTS,
            breaker=breaker,
        )

    @property
    def healthy(self) -> bool:
        """Whether its probes succeed."""
        return self.health is Health.HEALTHY

    def full(self, now: float) -> bool:
        """Whether it said so itself, a short while ago."""
        return now < self.cooling_until

    def available(self, now: float) -> bool:
        """Healthy and not full, wanted by the operator and let through by its breaker."""
        return self.state is RowState.ACTIVE and self.healthy and not self.full(now) and self.breaker.admits(now)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model on a replica, by the name the engine knows it under."""

    row: Row
    model: str
    weight: float


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A row's health turned."""

    row: Row
    old: Health
    new: Health
    detail: str


@dataclass(slots=True, eq=False)
class Ticket:
    """The right to one call on a row, counted as its load until given back. `change`: its breaker went HALF_OPEN."""

    row: Row
    stamp: int
    change: BreakerChange | None
    open: bool = field(default=True)


class Table:
    """The rows, and which of them serve which model."""

    def __init__(self, config: Config, *, breaker: BreakerPolicy | None = None) -> None:
        self._policy = breaker or BreakerPolicy()
        self._turn = 0
        self.rows: dict[str, Row] = {}
        self.leaving: list[Row] = []
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
        self._deployments = {model.name: tuple(self._serving(model)) for model in config.models}

    def _row(self, old: Row | None, upstream: UpstreamConfig) -> Row:
        new = Row.of(upstream, Breaker(self._policy))
        if old is None or (old.url, old.engine) != (new.url, new.engine):
            return new
        old.api_key, old.slots = upstream.api_key, upstream.slots or DEFAULT_SLOTS
        return old

    def _serving(self, model: ModelConfig) -> Iterator[Deployment]:
        for deployment in model.deployments:
            row = self.rows[deployment.upstream]
            yield Deployment(row, deployment.model or model.name, deployment.weight)

    def deployments(self, model: str) -> tuple[Deployment, ...]:
        """Where the model of this name (no alias) is served; empty when there is none of that name."""
        return self._deployments.get(model, ())

    def holds(self, row: Row) -> bool:
        """Whether this very row is still part of the fleet."""
        return self.rows.get(row.id) is row

    def everywhere(self) -> Iterable[Row]:
        """Every row that may still have work, those that leave included."""
        return (*self.rows.values(), *self.leaving)

    def take(self, row: Row, *, now: float) -> Ticket:
        """Count one more call on the row, from this moment. Its breaker must admit it."""
        stamp, change = row.breaker.enter(now)
        self._turn += 1
        row.turn = self._turn
        row.in_flight += 1
        return Ticket(row, stamp, change)

    def give_back(
        self, ticket: Ticket, verdict: Verdict, *, now: float, rng: Rng, cooldown_s: float = 0.0
    ) -> BreakerChange | None:
        """End a call; a second time does nothing. `cooldown_s` counts with BUSY: how long the row stays full."""
        if not ticket.open:
            return None
        ticket.open = False
        row = ticket.row
        row.in_flight -= 1
        if not row.in_flight and row in self.leaving:
            self.leaving.remove(row)
        match verdict:
            case Verdict.OK:
                row.answered_at = now
                return row.breaker.succeed(ticket.stamp)
            case Verdict.FAULT:
                return row.breaker.fail(ticket.stamp, now=now, rng=rng)
            case Verdict.BUSY:
                row.cooling_until = max(row.cooling_until, now + cooldown_s)
        row.breaker.abandon(ticket.stamp)
        return None

    def probe_succeeded(self, row: Row, detail: str) -> HealthChange | None:
        """One success is enough."""
        row.probe_failures = 0
        return self._turn_health(row, Health.HEALTHY, detail)

    def probe_failed(self, row: Row, detail: str, *, at_once: bool = False) -> HealthChange | None:
        """The second failure in a row counts, the first already when `at_once`: nobody listens there."""
        row.probe_failures += 1
        if at_once or row.probe_failures >= UNHEALTHY_AFTER:
            return self._turn_health(row, Health.UNHEALTHY, detail)
        return None

    def _turn_health(self, row: Row, new: Health, detail: str) -> HealthChange | None:
        old, row.health, row.health_detail = row.health, new, detail
        return None if old is new else HealthChange(row, old, new, detail)
