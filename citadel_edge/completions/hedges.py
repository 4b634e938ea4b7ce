"""Which requests get a double, and when.

Decides by `routing.hedging`: a call is late once it has been silent for longer than 95 of 100 were, and no more than
the configured share of requests is doubled. A broken answer that goes on elsewhere is not: a part of it is out already.
Refuses to know how two calls race: that is `race`.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.books import Books
from citadel_edge.completions.job import Job, Trial
from citadel_edge.completions.metrics import CompletionMetrics
from citadel_edge.completions.placing import Placing
from citadel_edge.completions.race import Hedge, Race
from citadel_edge.completions.upstreams import Upstreams
from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.errors import UpstreamError
from citadel_edge.fleet.table import Verdict
from citadel_edge.routing.hedging import HedgeBudget, HedgeDelay
from citadel_edge.telemetry.clock import Clock

T = TypeVar("T")


class Hedges:
    """One object a process."""

    def __init__(
        self,
        config: Live[Config],
        *,
        placing: Placing,
        upstreams: Upstreams,
        books: Books,
        clock: Clock,
        metrics: CompletionMetrics,
    ) -> None:
        self._config = config
        self._placing = placing
        self._upstreams = upstreams
        self._books = books
        self._clock = clock
        self._metrics = metrics
        self._delays = HedgeDelay()
        self._budget = HedgeBudget(config.value.routing.hedge.share)
        config.watch(lambda new: self._budget.resize(new.routing.hedge.share))

    async def run(self, job: Job, trial: Trial, start: Callable[[Job, Trial], Awaitable[T]]) -> T:
        """What `start` answers, of the call that was first to; `job.trial` is that call afterwards.

        Raises:
            UpstreamError: of the call that failed last, which is `job.trial`.
        """
        hedge = self._hedge(job, trial)
        return await (start(job, trial) if hedge is None else Race(job, start, hedge).run(trial))

    def answered(self, job: Job, trial: Trial) -> None:
        """A call began to answer: so long it took."""
        if self._config.value.routing.hedge.enabled:
            self._learn(job, trial)

    def _hedge(self, job: Job, first: Trial) -> Hedge | None:
        if not self._config.value.routing.hedge.enabled or job.broken is not None:
            return None
        if len(job.trials) == 1:
            self._budget.deposit()
        delay_s = self._delays.delay_s(first.model.name, stream=job.call.request.stream)
        if delay_s is None:
            return None

        def failed(trial: Trial, error: UpstreamError) -> None:
            self._upstreams.charge(job, trial, error)

        def lost(trial: Trial) -> None:
            trial.let_go()
            if trial is first:
                self._learn(job, trial)
                now = self._clock.monotonic_s()
                trial.deployment.row.signals.penalize(now=now, seconds=now - trial.began)  # it is at least that slow
            self._books.end_trial(job, trial, Verdict.NONE, Outcome.CANCELLED.value)

        return Hedge(delay_s, lambda: self._double(job, first), failed, lost)

    def _double(self, job: Job, first: Trial) -> Trial | None:
        """Another replica for a request that is late, if one is free and the share is not used up."""
        trial = self._placing.double(job, first, self._budget.withdraw)
        if trial is not None:
            self._metrics.hedged(job.call.listener, model=first.model.name)
        return trial

    def _learn(self, job: Job, trial: Trial) -> None:
        """So long a call took, or longer.

        A first one that was overtaken counts, or the delay would shrink with every hedge. A double that was overtaken
        does not: it was cut off early, and nobody knows how long it would have taken.
        """
        seconds = self._clock.monotonic_s() - trial.began
        self._delays.observe(trial.model.name, seconds, stream=job.call.request.stream)
