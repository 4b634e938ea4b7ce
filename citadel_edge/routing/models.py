"""Which models there are by the names clients use, which of them somebody may use, and which shall answer.

Decides what a name means and what is answered to a name that means nothing, or to a request that nothing fits. A tier
that lists a model by its name or an alias may use it, and `auto` chooses among what the tier may use; `auto` itself is
no model and need not be listed. Refuses to know where models run and who is asking: what a caller may use and what
replicas promise come in as functions. How models are weighed is `selection`'s.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, TypedDict

from citadel_edge.config.shape import ModelConfig, Objective
from citadel_edge.errors import Code, RequestError
from citadel_edge.routing.cost import Model, TokenCost, priced
from citadel_edge.routing.features import Features
from citadel_edge.routing.objective import AUTO_NAMES, is_auto
from citadel_edge.routing.outlook import MayUse, Misfit, ModelScore, Outlook, Selection, SkillOf, may_use_model
from citadel_edge.routing.selection import Ranking, configured_skill

__all__ = ["Catalogue", "MayUse", "Model", "ModelEntry", "ModelScore", "Outlook", "Selection", "TokenCost"]

OWNER: Final = "citadel-edge"
_LONGEST_ECHO: Final = 128
_MODELS_HINT: Final = "GET /v1/models lists the models that you may use."


class ModelEntry(TypedDict):
    """One model as OpenAI's API lists it. `created` is in seconds since 1970."""

    id: str
    object: str
    created: int
    owned_by: str


class Catalogue:
    """The models of one configuration. Immutable: a new configuration makes a new one.

    Args:
        created: seconds since 1970 that the entries bear.
    """

    def __init__(self, models: Sequence[ModelConfig], *, created: int) -> None:
        self._created = created
        self._by_name: dict[str, Model] = {}
        for config in models:
            model = priced(config)
            for name in (config.name, *config.aliases):
                self._by_name.setdefault(name, model)
        self._models = tuple(model for name, model in self._by_name.items() if name == model.name)
        self._fallbacks: Mapping[str, tuple[Model, ...]] = {
            model.name: tuple(self._by_name[name] for name in model.config.fallbacks if name in self._by_name)
            for model in self._models
        }

    def resolve(self, name: str, may_use: MayUse) -> Model:
        """The model of a name or alias. A tier that lists either may use it.

        Raises:
            RequestError: MODEL_NOT_FOUND, MODEL_NOT_ALLOWED.
        """
        model = self._by_name.get(name)
        if model is None:
            raise RequestError(
                Code.MODEL_NOT_FOUND, f"The model '{_echo(name)}' does not exist. {_MODELS_HINT}", param="model"
            )
        if not _allowed(model, name, may_use):
            raise RequestError(
                Code.MODEL_NOT_ALLOWED, f"Your tier does not include the model '{name}'. {_MODELS_HINT}", param="model"
            )
        return model

    def select(
        self,
        asked: str,
        features: Features,
        *,
        may_use: MayUse,
        objective: Objective,
        outlook: Callable[[Model], Outlook],
        budget_usd: Decimal | None = None,
        skill: SkillOf = configured_skill,
        prompt_field: str = "messages",
    ) -> Selection:
        """The models that shall answer, best first; at least one.

        Args:
            asked: a model, an alias, or one of the `auto` names.
            features: what the request needs.
            may_use: whether the caller's tier lists a name.
            objective: what `auto` chooses by.
            outlook: what a model's replicas promise; asked once for each model that is considered.
            budget_usd: what the caller has left; None is no bound. A model asked for by name is the limiter's business.
            skill: how good a model is at a task, 0 to 1.
            prompt_field: the body's field that a refusal for its length names.

        Raises:
            RequestError: MODEL_NOT_FOUND, MODEL_NOT_ALLOWED, CONTEXT_LENGTH_EXCEEDED, INVALID_REQUEST (nothing that the
                caller may use can do it), INSUFFICIENT_QUOTA (all that can cost more than is left).
        """
        ranking = Ranking(features, may_use=may_use, outlook=outlook, skill=skill, budget_usd=budget_usd)
        if is_auto(asked) and self._models:
            selection = ranking.best_of(self._models, objective)
        else:
            model = self.resolve(asked, may_use)
            selection = ranking.named(model, self._fallbacks[model.name], objective)
        if not selection.ranked:
            raise _nothing_fits(asked, selection, features, prompt_field)
        return selection

    def entry(self, name: str, may_use: MayUse) -> ModelEntry:
        """One model, as `GET /v1/models/{id}` answers. Raises as `resolve`."""
        if not (is_auto(name) and self._any_usable(may_use)):
            self.resolve(name, may_use)
        return self._entry(name)

    def entries(self, may_use: MayUse) -> list[ModelEntry]:
        """Every name and alias that may be used, and the `auto` names where any may: `data` of `GET /v1/models`."""
        names = [name for name, model in self._by_name.items() if _allowed(model, name, may_use)]
        return [self._entry(name) for name in (*names, *(AUTO_NAMES if names else ()))]

    def _any_usable(self, may_use: MayUse) -> bool:
        return any(may_use_model(model, may_use) for model in self._models)

    def _entry(self, name: str) -> ModelEntry:
        return ModelEntry(id=name, object="model", created=self._created, owned_by=OWNER)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)


def _allowed(model: Model, name: str, may_use: MayUse) -> bool:
    return may_use(model.name) or may_use(name)


def _nothing_fits(asked: str, selection: Selection, features: Features, prompt_field: str) -> RequestError:
    """The refusal by the filter that was reached last: what came nearest to an answer."""
    reasons = {one.excluded.code: one.excluded.reason for one in selection.considered if one.excluded}
    if Misfit.BUDGET in reasons:
        words = f"No model is within what is left of your budget: {_listed(selection, Misfit.BUDGET)}."
        return RequestError(Code.INSUFFICIENT_QUOTA, words)
    if Misfit.CONTEXT in reasons:
        return _too_long(selection, features, prompt_field)
    if reasons.keys() == {Misfit.NOT_ALLOWED}:
        words = f"Your tier includes no model that '{asked}' could choose. {_MODELS_HINT}"
        return RequestError(Code.MODEL_NOT_ALLOWED, words, param="model")
    needed = ", ".join(sorted(features.needs)) or "chat"
    able = "; ".join(f"{one.name}: {one.excluded.reason}" for one in selection.considered[:8] if one.excluded)
    return RequestError(
        Code.INVALID_REQUEST,
        f"No model that you may use can do what this request needs ({needed}): {able}.",
        param="model",
    )


def _too_long(selection: Selection, features: Features, prompt_field: str) -> RequestError:
    bound = f" and max_tokens {features.max_tokens}" if features.max_tokens else ""
    return RequestError(
        Code.CONTEXT_LENGTH_EXCEEDED,
        f"The prompt has about {features.context_tokens} tokens{bound}: that fits no model that could answer. "
        f"{_listed(selection, Misfit.CONTEXT)}. Shorten the prompt{' or lower max_tokens' if bound else ''}.",
        param=prompt_field,
    )


def _listed(selection: Selection, code: Misfit) -> str:
    out = [(one.name, one.excluded) for one in selection.considered if one.excluded and one.excluded.code is code]
    return "; ".join(f"{name}: {excluded.reason}" for name, excluded in out[:8])


def _echo(name: str) -> str:
    """A name of a stranger's, short and visible."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:_LONGEST_ECHO])
    return shown if len(name) <= _LONGEST_ECHO else f"{shown}…"
