"""What goes into the choice of a model and what comes out of it: values, and two readings of them. Decides nothing."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from msgspec import Struct

from citadel_edge.config.catalogue import DEFAULT_CONTEXT_TOKENS
from citadel_edge.config.shape import Objective
from citadel_edge.routing.cost import Model, TokenCost

MayUse = Callable[[str], bool]
SkillOf = Callable[[Model, str], float]


class Misfit(StrEnum):
    """Why a model is out."""

    NOT_ALLOWED = "not_allowed"
    KIND = "kind"
    CAPABILITY = "capability"
    CONTEXT = "context"
    BUDGET = "budget"


class Unfit(Struct, frozen=True, gc=False):
    """Out, in words for a reader."""

    code: Misfit
    reason: str


class Outlook(Struct, frozen=True, kw_only=True, gc=False):
    """What a model's replicas promise at this moment.

    Attributes:
        predicted_ttft_s: seconds to the first token, at the replica that would be asked.
        predicted_total_s: seconds to the last one.
        available: a replica is alive: healthy, in service, let through by its breakers; it may be full.
        gpu: what a token costs there, where the model has no price.
        context_tokens: what the engine says its context is; it knows better than the configuration.
        tokens_in: the prompt's size by this model's own ratio, where it is known.
        tokens_out: what this model is expected to answer, where it is known.
    """

    predicted_ttft_s: float
    predicted_total_s: float
    available: bool = True
    gpu: TokenCost | None = None
    context_tokens: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


class ModelScore(Struct, frozen=True, kw_only=True, gc=False):
    """One model as it was considered.

    Attributes:
        score: 0 to 1, the product of `parts`; None where it is out, or was not weighed against others.
        parts: `quality`, `price`, `latency`, and `context` where it may be too small.
        cost_usd: what the request would cost there, as estimated.
        latency_s: what it was weighed by: the whole answer, or of a stream the first token and a part of the rest.
    """

    name: str
    score: float | None = None
    parts: Mapping[str, float] = {}
    cost_usd: float | None = None
    latency_s: float | None = None
    available: bool = True
    excluded: Unfit | None = None


class Selection(Struct, frozen=True, kw_only=True, gc=False):
    """The models to ask, best first, and all that were considered."""

    ranked: tuple[Model, ...]
    considered: tuple[ModelScore, ...]
    objective: Objective


def may_use_model(model: Model, may_use: MayUse) -> bool:
    """Whether a tier has the model under any of its names."""
    return may_use(model.name) or any(may_use(alias) for alias in model.config.aliases)


def context_of(model: Model, outlook: Outlook) -> int:
    """Tokens: no more than the engine says of itself, nor than the configuration says where it says anything."""
    configured, told = model.config.context_tokens, outlook.context_tokens
    if told is None:
        return configured
    return told if configured == DEFAULT_CONTEXT_TOKENS else min(configured, told)
