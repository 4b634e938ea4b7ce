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
    File,
    Host,
    HttpUrl,
    Limit,
    Port,
    Positive,
    PostgresDsn,
    RedisUrl,
    Switch,
)
from citadel_edge.config.graphql import GraphQLConfig
from citadel_edge.config.routing import (
    DecisionsConfig,
    HedgeConfig,
    Objective,
    RoutingConfig,
    StrategyName,
    TimeoutsConfig,
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
    "GraphQLConfig",
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
    "StreamsConfig",
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
class StreamsConfig:
    """How long the log of a stream that is over is kept, and how much of one stream."""

    __pydantic_config__ = STRICT
    retention_s: Positive = 3600.0
    max_bytes: Count = 8 * 2**20


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
    streams: StreamsConfig = field(default_factory=StreamsConfig)
    graphql: GraphQLConfig = field(default_factory=GraphQLConfig)
    logs: LogsConfig = field(default_factory=LogsConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    embedded: EmbeddedConfig = field(default_factory=EmbeddedConfig)

    def bind_host(self, listener: ListenerName) -> str:
        """The address a listener binds: its own, else `SERVER_IP`, else loopback."""
        return self.listeners[listener].host or self.server_ip or LOOPBACK
