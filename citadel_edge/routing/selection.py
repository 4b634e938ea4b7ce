"""Which models may answer a request, in which order, and why: filters first, then a score.

Decides in this order, and says the first thing that puts a model out:

1. not allowed: the caller's tier has it under no name;
2. kind: embeddings go to models that can, and nothing else goes to models that can do nothing but embeddings;
3. capability: tools, JSON, pictures. Asked to think, models that can are taken if there are any;
4. context: the prompt and `max_tokens`. A prompt's size is an estimate, bytes over a learned ratio, so a model is out
   only when half of the estimate is already too much. Where the estimate itself does not fit, the score is quartered,
   and where the prompt alone does not, those that have room for it come first;
5. budget: the estimated cost is more than is left.

A score is quality^q x price^p x latency^l (`objective.WEIGHTS`): quality is the skills weighed by the request's tasks
(a skill that is not given is 0.5; skills named `lang:de` or `long` multiply it where the request is such), price and
latency are relative to the best candidate. A model without a usable replica comes last instead of being out; one whose
replicas are only full keeps its place.

A model asked for by name comes first whatever its replicas promise, and is not judged by its capabilities: its engine
is. It is out only when the prompt alone, by half of the estimate, is beyond its context. Its fallbacks, in the
operator's order, must be able, allowed, and large enough by the estimate for the prompt and the expected answer.

Refuses to know replicas: what they promise comes in as an `Outlook`.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct

from citadel_edge.config.shape import Capability, Objective
from citadel_edge.routing.ask import CLEARLY
from citadel_edge.routing.cost import Model
from citadel_edge.routing.features import Features
from citadel_edge.routing.objective import WEIGHTS, Weights
from citadel_edge.routing.outlook import (
    MayUse,
    Misfit,
    ModelScore,
    Outlook,
    Selection,
    SkillOf,
    Unfit,
    context_of,
    may_use_model,
)

_NO_MARGIN: Final = 1.0
DEFAULT_SKILL: Final = 0.5
_TIGHT: Final = 0.25
_FREE: Final = 1e-3
_LATENCY_GRAIN_S: Final = 0.05
_LONGEST_S: Final = 600.0
_STREAM_REST: Final = 0.3
_SOFT: Final = frozenset((Capability.REASONING, Capability.EMBEDDINGS))
_NOT_ALLOWED: Final = Unfit(Misfit.NOT_ALLOWED, "your tier does not include it")


class _Weighed(Struct, frozen=True, gc=False):
    """A model that may answer, in figures. `tight`: prompt and answer may be too long for it; `beyond`: the prompt."""

    model: Model
    outlook: Outlook
    quality: float
    cost: float
    latency_s: float
    tight: bool
    beyond: bool


class Ranking:
    """Weighs models against one request. Made for it, asked once.

    Args:
        features: what the request needs.
        may_use: whether the caller may use a name.
        outlook: what a model's replicas promise.
        skill: a model's skill at a task, 0 to 1.
        budget_usd: what the caller may spend; None is no bound.
    """

    __slots__ = ("_budget_usd", "_features", "_may_use", "_outlook", "_skill")

    def __init__(
        self,
        features: Features,
        *,
        may_use: MayUse,
        outlook: Callable[[Model], Outlook],
        skill: SkillOf,
        budget_usd: Decimal | None,
    ) -> None:
        self._features = features
        self._may_use = may_use
        self._outlook = outlook
        self._skill = skill
        self._budget_usd = budget_usd

    def best_of(self, models: Sequence[Model], objective: Objective) -> Selection:
        """All that fit, by their scores; those without a usable replica last. `ranked` may be empty."""
        looked = [(model, self._outlook(model)) for model in models if may_use_model(model, self._may_use)]
        out = {model.name: unfit for model, outlook in looked if (unfit := self._unfit(model, outlook, CLEARLY))}
        self._prefer_thinkers([model for model, _ in looked if model.name not in out], out)
        weighed = [self._weigh(model, outlook) for model, outlook in looked if model.name not in out]
        scores = _scores(weighed, WEIGHTS[objective])
        order = sorted(
            weighed,
            key=lambda one: (not one.outlook.available, one.beyond, -(scores[one.model.name].score or 0.0)),
        )
        others = [model.name for model in models if model.name not in scores]
        return Selection(
            ranked=tuple(one.model for one in order),
            considered=(
                *(scores[one.model.name] for one in order),
                *(ModelScore(name=name, excluded=out.get(name, _NOT_ALLOWED)) for name in others),
            ),
            objective=objective,
        )

    def named(self, model: Model, fallbacks: Sequence[Model], objective: Objective) -> Selection:
        """The model itself, then its fallbacks in their order, whatever their replicas promise."""
        looks = [(model, self._outlook(model)), *((fallback, self._outlook(fallback)) for fallback in fallbacks)]
        considered = [self._told(*looks[0], self._too_long(*looks[0]))]
        for fallback, look in looks[1:]:
            unfit = self._unfit(fallback, look, _NO_MARGIN) if may_use_model(fallback, self._may_use) else _NOT_ALLOWED
            considered.append(self._told(fallback, look, unfit))
        return Selection(
            ranked=tuple(one for (one, _), score in zip(looks, considered, strict=True) if score.excluded is None),
            considered=tuple(considered),
            objective=objective,
        )

    def _told(self, model: Model, outlook: Outlook, excluded: Unfit | None) -> ModelScore:
        return ModelScore(
            name=model.name,
            cost_usd=float(self._cost(model, outlook)),
            latency_s=self._latency_s(outlook),
            available=outlook.available,
            excluded=excluded,
        )

    def _unfit(self, model: Model, outlook: Outlook, margin: float) -> Unfit | None:
        return self._unable(model) or self._too_small(model, outlook, margin) or self._too_dear(model, outlook)

    def _unable(self, model: Model) -> Unfit | None:
        able = frozenset(model.config.capabilities)
        if Capability.EMBEDDINGS in self._features.needs:
            fits = Capability.EMBEDDINGS in able
            return None if fits else Unfit(Misfit.KIND, "it makes no embeddings")
        if able == {Capability.EMBEDDINGS} and not model.config.skills:
            return Unfit(Misfit.KIND, "it makes embeddings only")
        missing = sorted(self._features.needs - able - _SOFT)
        return Unfit(Misfit.CAPABILITY, f"it lacks {', '.join(missing)}") if missing else None

    def _prefer_thinkers(self, left: Sequence[Model], out: dict[str, Unfit]) -> None:
        """Put out those that cannot think where thinking is asked for and others can."""
        able = {model.name for model in left if Capability.REASONING in model.config.capabilities}
        if able and Capability.REASONING in self._features.needs:
            unfit = Unfit(Misfit.CAPABILITY, "it lacks reasoning, which others have")
            out.update((model.name, unfit) for model in left if model.name not in able)

    def _too_small(self, model: Model, outlook: Outlook, margin: float) -> Unfit | None:
        answer = self._features.max_tokens or (self._tokens_out(outlook) if margin == _NO_MARGIN else 0)
        needed = self._prompt(outlook) / margin + answer
        context = context_of(model, outlook)
        return Unfit(Misfit.CONTEXT, f"its context is {context} tokens") if needed > context else None

    def _too_long(self, model: Model, outlook: Outlook) -> Unfit | None:
        context = context_of(model, outlook)
        fits = self._prompt(outlook) <= CLEARLY * context
        return None if fits else Unfit(Misfit.CONTEXT, f"its context is {context} tokens")

    def _too_dear(self, model: Model, outlook: Outlook) -> Unfit | None:
        if self._budget_usd is None or (cost := self._cost(model, outlook)) <= self._budget_usd:
            return None
        return Unfit(
            Misfit.BUDGET, f"it would cost about ${cost:.6f}, and ${max(Decimal(0), self._budget_usd):.6f} is left"
        )

    def _weigh(self, model: Model, outlook: Outlook) -> _Weighed:
        features = self._features
        answer = features.max_tokens or self._tokens_out(outlook)
        prompt, context = self._prompt(outlook), context_of(model, outlook)
        return _Weighed(
            model,
            outlook,
            quality=self._quality(model),
            cost=float(self._cost(model, outlook)),
            latency_s=self._latency_s(outlook),
            tight=prompt + answer > context,
            beyond=prompt > context,
        )

    def _quality(self, model: Model) -> float:
        """0 to 1."""
        features, skills = self._features, model.config.skills
        quality = sum(share * self._skill(model, task) for task, share in features.tasks.items() if share)
        quality *= skills.get(f"lang:{features.language}", 1.0)
        return quality * skills.get("long", 1.0) if features.long_context else quality

    def _prompt(self, outlook: Outlook) -> float:
        """Tokens that the model must read at once."""
        features = self._features
        if outlook.tokens_in is None or not features.tokens_in:
            return features.context_tokens
        return features.context_tokens * outlook.tokens_in / features.tokens_in

    def _tokens_out(self, outlook: Outlook) -> int:
        return self._features.tokens_out if outlook.tokens_out is None else outlook.tokens_out

    def _cost(self, model: Model, outlook: Outlook) -> Decimal:
        tokens_in = self._features.tokens_in if outlook.tokens_in is None else outlook.tokens_in
        return model.cost_usd(tokens_in, self._tokens_out(outlook), outlook.gpu)

    def _latency_s(self, outlook: Outlook) -> float:
        """What a client waits: for all of an answer, or for a stream's beginning and, less, for the rest of it."""
        first, total = outlook.predicted_ttft_s, outlook.predicted_total_s
        waited = first + _STREAM_REST * max(0.0, total - first) if self._features.stream else total
        return min(_LONGEST_S, max(0.0, waited)) if waited == waited else _LONGEST_S  # noqa: PLR0124 - not a number


def configured_skill(model: Model, task: str) -> float:
    """The operator's word, 0.5 where there is none."""
    return model.config.skills.get(task, DEFAULT_SKILL)


def _scores(weighed: Sequence[_Weighed], weights: Weights) -> dict[str, ModelScore]:
    if not weighed:
        return {}
    floor = max(one.cost for one in weighed) * _FREE
    cheapest = max(floor, min(one.cost for one in weighed))
    fastest = min(one.latency_s for one in weighed) + _LATENCY_GRAIN_S
    return {one.model.name: _score(one, weights, floor, cheapest, fastest) for one in weighed}


def _score(one: _Weighed, weights: Weights, floor: float, cheapest: float, fastest: float) -> ModelScore:
    cost = max(floor, one.cost)
    parts = {
        "quality": one.quality**weights.quality,
        "price": (cheapest / cost) ** weights.price if cost else 1.0,
        "latency": (fastest / (one.latency_s + _LATENCY_GRAIN_S)) ** weights.latency,
    }
    if one.tight:
        parts["context"] = _TIGHT
    score = 1.0
    for part in parts.values():
        score *= part
    return ModelScore(
        name=one.model.name,
        score=score,
        parts=parts,
        cost_usd=one.cost,
        latency_s=one.latency_s,
        available=one.outlook.available,
    )
