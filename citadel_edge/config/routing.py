"""How requests find a model and a replica: the settings. Values only; `shape` holds them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from citadel_edge.config.fields import STRICT, Count, Few, Fraction, NonNegative, Positive, Switch


class Objective(StrEnum):
    """What a model is chosen for."""

    BALANCED = "balanced"
    COST = "cost"
    LATENCY = "latency"
    QUALITY = "quality"


class StrategyName(StrEnum):
    """How a replica is chosen among those that may be asked."""

    ADAPTIVE = "adaptive"
    LEAST_IN_FLIGHT = "least_in_flight"
    PEAK_EWMA = "peak_ewma"
    ROUND_ROBIN = "round_robin"
    PREFIX = "prefix"
    SESSION = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeConfig:
    """A second attempt after a delay; the loser is cancelled.

    The delay is the time by which 95 % of such calls had begun to answer; `share` bounds how many of all requests may
    have a second one.
    """

    __pydantic_config__ = STRICT
    enabled: Switch = False
    share: Fraction = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutsConfig:
    """Per phase of an upstream call, in seconds."""

    __pydantic_config__ = STRICT
    connect_s: Positive = 2.0
    first_token_s: Positive = 60.0
    idle_s: Positive = 30.0
    total_s: Positive = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionsConfig:
    """What is kept of decisions: so many in memory; in PostgreSQL all that went wrong and a sample of the others."""

    __pydantic_config__ = STRICT
    kept: Annotated[Count, Field(le=100_000)] = 2048
    sample: Fraction = 0.1
    keep_days: Count = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingConfig:
    """How requests find a model and a replica. `capacity_wait_s`: how long one may wait while all are full."""

    __pydantic_config__ = STRICT
    objective: Objective = Objective.BALANCED
    strategy: StrategyName = StrategyName.ADAPTIVE
    retries: Few = 2
    capacity_wait_s: NonNegative = 30.0
    hedge: HedgeConfig = field(default_factory=HedgeConfig)
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    probe_interval_s: Positive = 1.0
    decisions: DecisionsConfig = field(default_factory=DecisionsConfig)
