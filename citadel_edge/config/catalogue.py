"""What is served and to whom: upstreams, models and the tiers' seeds. Values only; `shape` holds them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from citadel_edge.config.fields import (
    STRICT,
    Count,
    Fraction,
    HeaderKey,
    HttpUrl,
    Id,
    Name,
    NonNegative,
    Positive,
    Rank,
)
from citadel_edge.config.limits import SheetConfig

DEFAULT_CONTEXT_TOKENS: Final = 4096
"""Of a model whose entry says nothing, where its engine says nothing either."""


class Engine(StrEnum):
    """The dialects of model servers."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMACPP = "llamacpp"
    OLLAMA = "ollama"
    TGI = "tgi"
    OPENAI = "openai"


class Capability(StrEnum):
    """What a model can do beyond text."""

    TOOLS = "tools"
    JSON = "json"
    VISION = "vision"
    EMBEDDINGS = "embeddings"
    REASONING = "reasoning"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig:
    """One model server. `slots`: how many requests it serves at once (null: as it says itself, or its engine's way)."""

    __pydantic_config__ = STRICT
    id: Id
    url: HttpUrl
    engine: Engine = Engine.OPENAI
    api_key: HeaderKey | None = None
    slots: Count | None = None
    gpu_hour_usd: NonNegative | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentConfig:
    """A model on an upstream, by the name the engine knows it under (`null`: the model's own name)."""

    __pydantic_config__ = STRICT
    upstream: Name
    model: str | None = None
    weight: Positive = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceConfig:
    """US dollars a million tokens."""

    __pydantic_config__ = STRICT
    input_per_mtok_usd: NonNegative = 0.0
    output_per_mtok_usd: NonNegative = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A model as clients name it."""

    __pydantic_config__ = STRICT
    name: Name
    aliases: tuple[Name, ...] = ()
    deployments: Annotated[tuple[DeploymentConfig, ...], Field(min_length=1)]
    context_tokens: Count = DEFAULT_CONTEXT_TOKENS
    price: PriceConfig = field(default_factory=PriceConfig)
    skills: dict[str, Fraction] = field(default_factory=dict)
    capabilities: tuple[Capability, ...] = ()
    fallbacks: tuple[Name, ...] = ()


FailPolicy = Literal["open", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRedisDown:
    """What a tier's limits do while Redis is away."""

    __pydantic_config__ = STRICT
    requests: FailPolicy = "open"
    spend: FailPolicy = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierConfig(SheetConfig):
    """A tier: absent limits are no limits, 0 allows nothing."""

    __pydantic_config__ = STRICT
    name: Id
    burst: Fraction = 0.2
    priority: Rank = 1
    models: tuple[str, ...] = ("*",)
    on_redis_down: OnRedisDown = field(default_factory=OnRedisDown)
