"""The typed shape of a configuration. Values only; loading is `load`, checking across fields is `consistency`.

Durations end in `_s` (seconds), sizes in `_mb` (2**20 bytes) or `_bytes`. Secrets are `Secret`, whose repr hides them.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from citadel_edge.config.catalogue import (
    Capability,
    DeploymentConfig,
    Engine,
    FailPolicy,
    ModelConfig,
    OnRedisDown,
    PriceConfig,
    TierConfig,
    UpstreamConfig,
)
from citadel_edge.config.fields import (
    STRICT,
    Count,
    Few,
    File,
    Fraction,
    Host,
    HttpUrl,
    Limit,
    NonNegative,
    Port,
    Positive,
    PostgresDsn,
    RedisUrl,
    Switch,
)

__all__ = [
    "LOOPBACK",
    "ApiGatewayConfig",
    "BudgetConfig",
    "Capability",
    "Config",
    "DecisionsConfig",
    "DeploymentConfig",
    "EmbeddedConfig",
    "Engine",
    "FailPolicy",
    "HedgeConfig",
    "HttpConfig",
    "ListenerConfig",
    "ListenerName",
    "LogsConfig",
    "MetricsServerConfig",
    "ModelConfig",
    "Objective",
    "OnRedisDown",
    "PostgresConfig",
    "PriceConfig",
    "ProcessConfig",
    "RedisConfig",
    "RoutingConfig",
    "Secret",
    "StrategyName",
    "TierConfig",
    "TimeoutsConfig",
    "Tls",
    "UpstreamConfig",
    "default_listeners",
]

Secret = SecretStr
LOOPBACK = "127.0.0.1"


class ListenerName(StrEnum):
    """The four listeners."""

    GRAPHQL = "graphql-api"
    STREAMING = "streaming-api"
    ROUTING = "routing-api"
    RATE_LIMITING = "rate-limiting-api"


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
class Tls:
    """Certificate chain and key, PEM files."""

    __pydantic_config__ = STRICT
    cert: File
    key: File


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """What one listener may hold. `tasks` are seats, `queue` the waiting places behind them."""

    __pydantic_config__ = STRICT
    cpu_weight: Count = 4
    memory_mb: Count = 2048
    storage_mb: Count = 102400
    tasks: Count = 256
    queue: Limit = 512
    queue_timeout_s: Positive = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerConfig:
    """One door. `host: null` binds `SERVER_IP`, or loopback."""

    __pydantic_config__ = STRICT
    host: Host | None = None
    port: Port
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    tls: Tls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Bounds that every door keeps."""

    __pydantic_config__ = STRICT
    max_body_bytes: Count = 4 * 2**20
    max_header_bytes: Count = 16 * 2**10
    header_timeout_s: Positive = 15.0
    body_timeout_s: Positive = 25.0
    idle_timeout_s: Positive = 75.0
    max_connections: Count = 10_000
    max_subscriptions: Count = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """`url: embedded` starts a private Valkey. A bare `host:port` takes user and password from here."""

    __pydantic_config__ = STRICT
    url: RedisUrl = field(default="embedded", repr=False)
    username: str | None = None
    password: Secret | None = None
    deadline_ms: Positive = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresConfig:
    """`dsn: embedded` starts a private PostgreSQL. A bare `host:port` takes user, password and database from here."""

    __pydantic_config__ = STRICT
    dsn: PostgresDsn = field(default="embedded", repr=False)
    user: str | None = None
    password: Secret | None = None
    database: str = "citadel"
    pool_size: Count = 8
    deadline_s: Positive = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsServerConfig:
    """The Prometheus server, asked for history."""

    __pydantic_config__ = STRICT
    url: HttpUrl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiGatewayConfig:
    """The gateway in front of the four services."""

    __pydantic_config__ = STRICT
    url: HttpUrl | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsConfig:
    """`directory` gets one file a listener; `prompts` puts prompt text into logs (off, for privacy)."""

    __pydantic_config__ = STRICT
    directory: File | None = None
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "pretty"] = "auto"
    prompts: Switch = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessConfig:
    """`grace_s` bounds the drain from SIGTERM to exit."""

    __pydantic_config__ = STRICT
    grace_s: Positive = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedConfig:
    """The private model: how many llama.cpp replicas, and how each is cut."""

    __pydantic_config__ = STRICT
    replicas: Annotated[Count, Field(le=8)] = 2
    slots: Count = 2
    threads: Count = 1
    context_tokens: Count = 2048


def default_listeners() -> dict[ListenerName, ListenerConfig]:
    """The four doors on their ports, with their budgets."""
    wide = BudgetConfig()
    narrow = BudgetConfig(cpu_weight=2, memory_mb=1024, storage_mb=51200)
    return {
        ListenerName.GRAPHQL: ListenerConfig(port=9095, budget=wide),
        ListenerName.STREAMING: ListenerConfig(port=9096, budget=wide),
        ListenerName.ROUTING: ListenerConfig(port=9097, budget=wide),
        ListenerName.RATE_LIMITING: ListenerConfig(port=9098, budget=narrow),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything. `listeners` always holds all four names after loading."""

    __pydantic_config__ = STRICT
    environment: Literal["development", "staging", "production", "test"] = "development"
    data_dir: File = Path("./var")
    server_ip: Host | None = None
    server_hostname: str | None = None
    listeners: dict[ListenerName, ListenerConfig] = field(default_factory=default_listeners)
    http: HttpConfig = field(default_factory=HttpConfig)
    redis: RedisConfig = field(default_factory=RedisConfig)
    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    metrics_server: MetricsServerConfig = field(default_factory=MetricsServerConfig)
    api_gateway: ApiGatewayConfig = field(default_factory=ApiGatewayConfig)
    upstreams: tuple[UpstreamConfig, ...] = ()
    models: tuple[ModelConfig, ...] = ()
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    tiers: tuple[TierConfig, ...] = ()
    logs: LogsConfig = field(default_factory=LogsConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    embedded: EmbeddedConfig = field(default_factory=EmbeddedConfig)

    def bind_host(self, listener: ListenerName) -> str:
        """The address a listener binds: its own, else `SERVER_IP`, else loopback."""
        return self.listeners[listener].host or self.server_ip or LOOPBACK
