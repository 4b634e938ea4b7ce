"""What a request asks: which models may answer it, what it takes of a replica, and what that will cost.

Learns from requests that were counted: bytes a token, lengths of answers, opinions on models. Decides nothing itself:
it hands to `routing` the values that its decisions are made of. Refuses to know who asks PostgreSQL and Redis for them.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Final

from citadel_edge.accounts.principal import Principal
from citadel_edge.completions.call import Call
from citadel_edge.completions.estimate import OutputLengths, TokenRatios
from citadel_edge.completions.job import Job
from citadel_edge.completions.request import CompletionRequest, Kind
from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config, StrategyName
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.table import Deployment, Row
from citadel_edge.routing import features
from citadel_edge.routing.affinity import blocks, covered
from citadel_edge.routing.ask import Ask
from citadel_edge.routing.chooser import Choice
from citadel_edge.routing.cost import Model, TokenCost, gpu_cost
from citadel_edge.routing.features import Features
from citadel_edge.routing.feedback import LearnedSkills
from citadel_edge.routing.models import Catalogue, Outlook, Selection
from citadel_edge.routing.objective import is_auto, objective_of
from citadel_edge.routing.strategies import KNOWS_PREFIXES
from citadel_edge.telemetry.clock import Clock

_NOTHING: Final = Decimal(0)
_HOUR_S: Final = 3600.0
_GRAIN: Final = Decimal("1e-12")
_MANY: Final = 1000  # tokens of a prompt that shows what one costs
_SEVERAL: Final = 2


def _boundless(_: Principal) -> Decimal | None:
    """What a caller has left where nobody counts."""
    return None


class Asking:
    """One object a process.

    Args:
        budget_usd: what a caller has left to spend; null is no bound.

    Attributes:
        catalogue: the models as they are configured now. One without fallbacks is no choice: nothing is weighed for it.
        ratios, lengths: of prompts and answers.
    """

    def __init__(
        self,
        config: Live[Config],
        fleet: Fleet,
        *,
        clock: Clock,
        skills: LearnedSkills,
        budget_usd: Callable[[Principal], Decimal | None] = _boundless,
    ) -> None:
        self._config = config
        self._budget_usd = budget_usd
        self._fleet = fleet
        self._clock = clock
        self.ratios = TokenRatios()
        self.lengths = OutputLengths()
        self._skills = skills
        self._follow(config.value)
        config.watch(self._follow)

    def _follow(self, config: Config) -> None:
        self.catalogue = Catalogue(config.models, created=int(self._clock.unix_s()))
        objective = config.routing.objective
        self._alone = {
            model.name: Selection(ranked=(model,), considered=(), objective=objective)
            for model in self.catalogue
            if not model.config.fallbacks
        }

    def read(self, job: Job, *, thorough: bool = False) -> None:
        """Find out what the request needs, which models may answer it, and what it asks of a replica.

        Args:
            job: the request's.
            thorough: weigh a model although it is the only one that may answer: somebody wants to read of it.

        Raises:
            RequestError: no model may or can.
        """
        call, routing = job.call, self._config.value.routing
        asked, may_use = call.request.model, call.principal.may_use
        model = None if is_auto(asked) else self.catalogue.resolve(asked, may_use)
        job.features = seen = self._features(call.request, asked if model is None else model.name)
        alone = None if model is None or thorough else self._alone.get(model.name)
        if model is None or alone is None or seen.context_tokens > model.config.context_tokens:
            alone = self.catalogue.select(
                asked,
                seen,
                may_use=may_use,
                objective=objective_of(asked, call.optimize, routing.objective),
                outlook=lambda model: self._outlook(model, call.request),
                budget_usd=self._budget_usd(call.principal),
                skill=self._skills.skill,
                prompt_field=call.request.kind.prompt_field,
            )
        job.selection = alone
        job.strategy = routing.strategy
        job.ask = self.ask_for(job, alone.ranked[0])

    def ask_for(self, job: Job, model: Model) -> Ask:
        """What a request that was read asks of this model's replicas, by what the model's own requests taught."""
        ask = job.asks.get(model.name)
        if ask is None:
            ask = job.asks[model.name] = self._ask(job.call, model.name, job.strategy, job.features)
        return ask

    def _ask(self, call: Call, name: str, strategy: StrategyName, seen: Features | None) -> Ask:
        request = call.request
        tokens_in = self.ratios.estimate(name, prompt_bytes=request.prompt_bytes)
        prompt = memoryview(request.fields[request.kind.prompt_field])
        chain = self._prefix(prompt, name, strategy)
        return Ask(
            tokens_in=tokens_in,
            context_tokens=round(seen.context_tokens * tokens_in / seen.tokens_in) if seen is not None else tokens_in,
            tokens_out=self._tokens_out(request, name),
            stream=request.stream,
            session=call.session,
            prefix=chain,
            prefix_share=covered(prompt.nbytes, chain) if chain else 1.0,
        )

    def _features(self, request: CompletionRequest, name: str) -> Features:
        """By the text too where the choice of a model is ours."""
        see = partial(features.full, request.sample()) if is_auto(name) else features.cheap
        return see(
            tokens_in=self.ratios.estimate(name, prompt_bytes=request.prompt_bytes),
            tokens_out=self._tokens_out(request, name),
            max_tokens=request.max_tokens,
            context_tokens=self.ratios.estimate(name, prompt_bytes=request.context_bytes),
            needs=request.needs,
            stream=request.stream,
        )

    def _tokens_out(self, request: CompletionRequest, name: str) -> int:
        return 0 if request.kind is Kind.EMBEDDINGS else self.lengths.expected(name, request.max_tokens, n=request.n)

    def most_tokens_out(self, request: CompletionRequest, name: str) -> int:
        """What nine of ten answers to such a request stay within, or the client's own bound."""
        if request.kind is Kind.EMBEDDINGS:
            return 0
        return request.n * request.max_tokens if request.max_tokens else self.lengths.p90(name, n=request.n)

    def _prefix(self, prompt: memoryview, model: str, strategy: StrategyName) -> tuple[int, ...]:
        """Only where it can tell replicas apart."""
        if strategy not in KNOWS_PREFIXES or len(self._fleet.table.deployments(model)) < _SEVERAL:
            return ()
        return blocks(prompt, seed=model)

    def _outlook(self, model: Model, request: CompletionRequest) -> Outlook:
        """What the model's best replica promises now: of those with room, else of those alive, else of all."""
        now = self._clock.monotonic_s()
        places = self._fleet.table.deployments(model.name)
        alive = [place for place in places if place.admits(now) and place.row.usable(now)]
        free = [place for place in alive if not place.row.full(now)]
        tokens_in = self.ratios.estimate(model.name, prompt_bytes=request.prompt_bytes)
        tokens_out = self._tokens_out(request, model.name)
        best = min(free or alive or places, key=lambda place: _total_s(place.row, tokens_in, tokens_out))
        return Outlook(
            predicted_ttft_s=_ttft_s(best.row, tokens_in),
            predicted_total_s=_total_s(best.row, tokens_in, tokens_out),
            available=bool(alive),
            gpu=self._gpu(model, best),
            context_tokens=_context_tokens(alive or places),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
        )

    def _gpu(self, model: Model, place: Deployment) -> TokenCost | None:
        """What a token costs on this replica by its GPU, where the model has no price."""
        row = place.row
        if model.has_price or row.gpu_hour_usd is None:
            return None
        signals = row.signals
        prefill_s = (_ttft_s(row, _MANY) - _ttft_s(row, 0)) / _MANY
        return gpu_cost(
            row.gpu_hour_usd,
            tokens_per_s=signals.tokens_per_s(self._clock.monotonic_s()),
            token_s=signals.predict_token_s(load=1),
            prefill_token_s=prefill_s if prefill_s > 0 else None,
        )

    def most_usd(self, model: Model, tokens: tuple[int, int]) -> Decimal:
        """What so many tokens, in and out, cost on the dearest of the model's replicas."""
        if model.has_price:
            return model.cost_usd(*tokens)
        places = self._fleet.table.deployments(model.name)
        return max((model.cost_usd(*tokens, self._gpu(model, place)) for place in places), default=_NOTHING)

    def cost_usd(self, job: Job, choice: Choice | None) -> Decimal:
        """What the request is expected to cost where `choice` sends it."""
        place = choice.deployment if choice is not None else None
        name = place.name if place is not None else job.model_name
        model = next((one for one in job.models if one.name == name), job.model)
        if model is None:
            return _NOTHING
        gpu = self._gpu(model, place) if place is not None else None
        ask = self.ask_for(job, model)
        return model.cost_usd(ask.tokens_in, ask.tokens_out, gpu)

    def charge_usd(self, job: Job, tokens: tuple[int, int]) -> Decimal:
        """What so many tokens, in and out, cost where they were made.

        By a GPU's price never more than the whole of it for as long as the call lasted.
        """
        trial = job.trial
        if trial is None:
            return job.model.cost_usd(*tokens) if job.model is not None and job.broken is not None else _NOTHING
        gpu = self._gpu(trial.model, trial.deployment)
        cost_usd = trial.model.cost_usd(*tokens, gpu)
        hour_usd = trial.deployment.row.gpu_hour_usd
        if gpu is None or hour_usd is None:
            return cost_usd
        lasted_s = self._clock.monotonic_s() - job.started
        return min(cost_usd, Decimal(repr(hour_usd * lasted_s / _HOUR_S)).quantize(_GRAIN))

    def learn(self, job: Job, *, tokens_in: int, tokens_out: int) -> float:
        """A request ended well with so many tokens; the expected tokens of its answer over the actual ones."""
        request, model = job.call.request, job.model_name
        self.ratios.observe(model, prompt_bytes=request.prompt_bytes, tokens=tokens_in)
        self.lengths.observe(model, max_tokens=request.max_tokens, tokens=tokens_out, n=request.n)
        return self.lengths.error_ratio(predicted=job.ask.tokens_out, tokens=tokens_out)


def _context_tokens(places: Sequence[Deployment]) -> int | None:
    """The largest that one of them has, for one is enough; None where it may be larger than is known."""
    told = [place.row.context_tokens.get(place.model) for place in places]
    known = [tokens for tokens in told if tokens is not None]
    return max(known) if known and len(known) == len(told) else None


def _ttft_s(row: Row, tokens_in: int) -> float:
    return row.signals.predict_ttft_s(
        tokens_in=tokens_in, prefilling_tokens=row.prefilling_tokens, load=row.in_flight + 1
    )


def _total_s(row: Row, tokens_in: int, tokens_out: int) -> float:
    return row.signals.predict_total_s(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        prefilling_tokens=row.prefilling_tokens,
        load=row.in_flight + 1,
    )
