"""One replica as the table holds it, and a model's place on it.

Decides what a row's numbers mean: who is available, who is full, who is warm. Refuses to change them: that is the
table's, in one turn of the loop. Times are monotonic seconds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from msgspec import Struct

from citadel_edge.config.shape import Engine, Secret, UpstreamConfig
from citadel_edge.errors import UpstreamError
from citadel_edge.fleet.breaker import Breaker, BreakerChange
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.gauges import Gauges
from citadel_edge.fleet.overdue import Overdue
from citadel_edge.fleet.signals import Signals

SLOW_START_S: Final = 10.0
COLD: Final = 0.1
CONFIG_SOURCE: Final = "config"


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


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One replica. Mutable; see `table` about who may change it when.

    Attributes:
        url: without the trailing slash or `/v1`.
        slots: how many requests it serves at once: as configured, else as it says, else its engine's way.
        configured_slots, learned_slots: where `slots` comes from, None where nobody said.
        warned: it was told that one request at a time is all that is known of its slots.
        weight: an operator's override of its deployments' own; None without.
        in_flight: requests taken and not given back, from the moment of the decision.
        prefilling_tokens: prompt tokens of calls that have no first token yet.
        reserved_tokens: prompt and expected output tokens of all calls in flight.
        cooling_until: before, the engine itself said that it is full, or one call tries whether it still is.
        refused_until, cooldown_s: when and how long it is left alone as it said so last; see `cooling`.
        doubted: no call has shown since that it is not full any more.
        trial: the call that tries it.
        answered_at: of the last call that went well.
        last_byte_at: of the last byte that any call of it brought.
        failing_since: when the first of its probes in a row that fail was sent; inf while they succeed.
        probe_s: how long its probes take, the slow ones remembered.
        late: it came when the process ran already: its first requests are for warming up.
        sleeping: its model is out of memory: the next request has to wait for it.
        healthy_since: -inf when it was healthy from the first probe on.
        context_tokens: learned, by the engine's own model name.
        key_refused: it answered that the key configured for it is wrong.
        turn: when it was last taken, as a count over the table; the tie-break.
        source: who set `state` and `weight`.
    """

    id: str
    url: str
    engine: Engine
    api_key: Secret | None
    slots: int
    breaker: Breaker
    configured_slots: int | None = None
    learned_slots: int | None = None
    warned: bool = False
    gpu_hour_usd: float | None = None
    state: RowState = RowState.ACTIVE
    weight: float | None = None
    source: str = CONFIG_SOURCE
    health: Health = Health.UNKNOWN
    health_detail: str = "not probed yet"
    healthy_since: float = -math.inf
    probe_failures: int = 0
    failing_since: float = math.inf
    probe_s: float = 0.0
    late: bool = False
    sleeping: bool = False
    in_flight: int = 0
    prefilling_tokens: int = 0
    reserved_tokens: int = 0
    cooling_until: float = 0.0
    refused_until: float = -math.inf
    cooldown_s: float = 0.0
    doubted: bool = False
    trial: "Ticket | None" = field(default=None, repr=False)
    answered_at: float = -math.inf
    last_byte_at: float = -math.inf
    context_tokens: dict[str, int] = field(default_factory=dict)
    signals: Signals = field(default_factory=Signals, repr=False)
    gauges: Gauges = field(default_factory=Gauges, repr=False)
    calls: set["Ticket"] = field(default_factory=set, repr=False)
    overdue: Overdue = field(default_factory=Overdue, repr=False)
    key_refused: bool = False
    turn: int = 0

    @classmethod
    def of(cls, upstream: UpstreamConfig, breaker: Breaker) -> "Row":
        """A fresh row for a configured upstream."""
        return cls(
            id=upstream.id,
            url=upstream.url.rstrip("/").removesuffix("/v1"),
            engine=upstream.engine,
            api_key=upstream.api_key,
            slots=upstream.slots or dialect_of(upstream.engine).slots,
            configured_slots=upstream.slots,
            breaker=breaker,
            gpu_hour_usd=upstream.gpu_hour_usd,
        )

    @property
    def healthy(self) -> bool:
        """Whether its probes succeed."""
        return self.health is Health.HEALTHY

    @property
    def slots_guessed(self) -> bool:
        """Whether nobody said how many requests it serves at once."""
        return not (self.configured_slots or self.learned_slots)

    @property
    def slots_words(self) -> str:
        """Where the number of its slots comes from, and the setting that changes it."""
        setting = f"upstreams[{self.id}].slots"
        if self.configured_slots:
            return f"as configured in {setting}"
        who = "its engine's default" if self.slots_guessed else "as it says itself"
        return f"{who}; {setting} sets another number"

    def cooling(self, now: float) -> bool:
        """Whether it said itself, a short while ago, that it is full, and has not shown otherwise."""
        return now < self.cooling_until

    def full(self, now: float) -> bool:
        """Whether no more should be sent to it now: it said so, or its slots are taken."""
        return self.in_flight >= self.slots or now < self.cooling_until

    def usable(self, now: float) -> bool:
        """Healthy, wanted by the operator and let through by its breaker, though it may be full now."""
        return self.state is RowState.ACTIVE and self.healthy and self.breaker.admits(now)

    def available(self, now: float) -> bool:
        """Usable and not full."""
        return not self.full(now) and self.usable(now)

    def warmth(self, now: float) -> float:
        """Slow start: `COLD` when it has just turned healthy, 1.0 ten seconds later; 1.0 from its first probe on.

        A model that sleeps is as cold.
        """
        if self.sleeping:
            return COLD
        return min(1.0, COLD + (1.0 - COLD) * (now - self.healthy_since) / SLOW_START_S)

    def stalled_s(self, now: float) -> float:
        """How far the most overdue of its calls without a first token is past what it was predicted to take."""
        return max(0.0, now - self.overdue.since()) if self.in_flight else 0.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model on a replica, by the name the engine knows it under.

    Attributes:
        weight: as configured; `share` is what counts.
        breaker: its own, `<upstream>:<model>`, where the upstream serves several models; else None.
        name: the model's own name, as the configuration has it.
    """

    row: Row
    model: str
    weight: float
    breaker: Breaker | None = None
    name: str = ""

    def admits(self, now: float) -> bool:
        """Whether the row's breaker and its own let a call through."""
        return self.row.breaker.admits(now) and (self.breaker is None or self.breaker.admits(now))

    @property
    def share(self) -> float:
        """Its weight: the operator's where there is one."""
        return self.weight if self.row.weight is None else self.row.weight


class BreakerEvent(Struct, frozen=True):
    """A change of the breaker of this id."""

    breaker: str
    change: BreakerChange


class Ticket(Struct, eq=False):
    """The right to one call on a row, counted as its load until given back.

    Attributes:
        row_stamp, own_stamp: of the row's breaker and the deployment's own.
        taken_at: monotonic seconds.
        tokens_in, tokens_out: the prompt's, and those expected in answer.
        prefilling_tokens: the row's when it was taken, its own excluded.
        load: the row's `in_flight` when it was taken, itself included.
        expected_s: predicted seconds to its first token, or to the whole answer where it comes in one piece.
        events: breakers that went HALF_OPEN by it.
        last_byte_at: of the last byte it brought, -inf before.
        on_lost: told once, at once, when the row's probes fail while it owes an answer; it must not await.
    """

    row: Row
    deployment: Deployment
    row_stamp: int
    own_stamp: int
    taken_at: float
    tokens_in: int
    tokens_out: int
    prefilling_tokens: int
    load: int
    expected_s: float
    events: tuple[BreakerEvent, ...]
    first_token_at: float | None = None
    last_byte_at: float = -math.inf
    on_lost: Callable[[UpstreamError], None] | None = None
    open: bool = True
