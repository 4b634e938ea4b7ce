"""From a job to a replica that is taken for it: which of its models, which replica, and the wait while all are full.

Decides in one turn of the loop, as `fleet.table` demands: whoever is chosen is taken before anybody else can look. A
request whose model has nobody left goes on to its fallbacks; one for which nobody has room waits its turn, no longer
than its own time and `routing.capacity_wait_s` allow, half as long for the model it named alone. Acts on what `routing`
decides; refuses to know what is sent to a replica, and what its answer says.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from math import inf
from typing import Final

from msgspec.structs import replace

from citadel_edge.completions.continuation import unable
from citadel_edge.completions.endings import none_left, waited_in_vain
from citadel_edge.completions.job import Job, Trial
from citadel_edge.completions.metrics import CompletionMetrics
from citadel_edge.completions.patience import Patience, alone_s, waited_s
from citadel_edge.completions.waiting import Busy, CapacityWait, GaveUp, Hooks, Waiter
from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.table import Deployment
from citadel_edge.routing.ask import Ask
from citadel_edge.routing.candidates import Exclusion
from citadel_edge.routing.chooser import Choice, Chooser
from citadel_edge.routing.decision import Mark
from citadel_edge.routing.models import Model
from citadel_edge.routing.objective import AUTO
from citadel_edge.telemetry.clock import Clock

_FULL: Final = frozenset({Exclusion.FULL, Exclusion.COOLING})


class Placing:
    """The pipeline's way to a replica.

    Args:
        ask_for: what a request asks of a model's replicas.
        cover: reserves what `job.uncovered` may take beyond what is reserved.
        instances: how many processes share the fleet, this one included.
    """

    def __init__(
        self,
        *,
        config: Live[Config],
        fleet: Fleet,
        chooser: Chooser,
        ask_for: Callable[[Job, Model], Ask],
        cover: Callable[[Job], Awaitable[None]],
        clock: Clock,
        metrics: CompletionMetrics,
        instances: Callable[[], int],
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._chooser = chooser
        self._ask_for = ask_for
        self._cover = cover
        self._clock = clock
        self._metrics = metrics
        self._instances = instances
        self._waits = CapacityWait(hooks=Hooks(waiting=metrics.waiting, waited=metrics.waited, gave_up=metrics.gave_up))
        self._patience = Patience(self._waits.tell)
        fleet.watch_capacity(self._waits.tell)
        self._follow(config.value)
        config.watch(self._follow)

    def _follow(self, config: Config) -> None:
        """Who waits keeps a seat of its listener: those of one model shall leave half of them to the others."""
        seats = min(listener.budget.tasks for listener in config.listeners.values())
        self._waits.max_waiting = max(1, seats // 2)

    async def place(self, job: Job) -> Trial:
        """Choose a replica and take it, after waiting for one if need be.

        Raises:
            RequestError: none is left, or none had room in time.
            EngineRefused: none is left, and the last one refused the request.
        """
        if job.uncovered:
            if not self._waits.must_queue(job.queue) and (trial := self._try(job)):
                return trial
            await self._cover(job)
        if self._waits.must_queue(job.queue):
            self._glance(job)
        else:
            found = self._attempt(job)
            if isinstance(found, Trial):
                return found
        return await self._wait(job)

    async def _wait(self, job: Job) -> Trial:
        """Wait in turn for a replica with room."""
        until = asyncio.get_running_loop().time() + self._left_s(job)
        if job.waiter is None:
            principal, ask = job.call.principal, job.ask
            job.waiter = Waiter.of(
                model=job.queue,
                user_id=principal.user_id,
                priority=principal.priority,
                cost_tokens=ask.tokens_in + ask.tokens_out,
            )
        with self._patience.kept(job, self._alone_s(job)):
            found = await self._waits.wait(job.waiter, lambda: self._attempt(job), until=until)
        if isinstance(found, Trial):
            return found
        patience_s = self._config.value.routing.capacity_wait_s
        raise waited_in_vain(job, patience_s=patience_s, crowded=found is GaveUp.QUEUE_FULL)

    def _left_s(self, job: Job) -> float:
        """For how many seconds it may wait yet."""
        patience_s = self._config.value.routing.capacity_wait_s - waited_s(job, self._clock.monotonic_s())
        return min(job.due - asyncio.get_running_loop().time(), patience_s)

    def _alone_s(self, job: Job) -> float:
        """For how many seconds it waits for the model it named alone."""
        return alone_s(job, waited_s=waited_s(job, self._clock.monotonic_s()), left_s=self._left_s(job))

    def _attempt(self, job: Job) -> Trial | Busy:
        """Take a replica, or say what to wait for.

        Raises:
            RequestError, EngineRefused: there is nothing to wait for.
        """
        trial = self._try(job)
        if trial is not None:
            return trial
        hopes = [hope for choice in job.latest for hope in _hopes(choice)]
        if not self._config.value.routing.capacity_wait_s or min(hopes, default=inf) > max(0.0, self._left_s(job)):
            raise none_left(job)
        known = min((hope for hope in hopes if hope), default=None)
        return Busy(
            retry_at=None if known is None else asyncio.get_running_loop().time() + known,
            spare=_is_choosy(job) or self._others_may(job),
        )

    def _others_may(self, job: Job) -> bool:
        """Whether somebody behind it has waited long enough to be answered by a fallback, and one has room."""
        now = self._clock.monotonic_s()
        rank = max(1, job.rank)
        alike = {tuple(model.name for model in other.models[rank:]): other for other in self._patience.lost(job)}
        return any(
            self._choose(other, model, now, explain=True).deployment is not None
            for other in alike.values()
            for model in other.models[rank:]
        )

    def _glance(self, job: Job) -> None:
        """Note who has no room, for a request that waits behind others without a look of its own."""
        now = self._clock.monotonic_s()
        job.latest.clear()
        for model in job.models[job.rank : job.rank + 1 if job.broken else None]:
            choice = self._choose(job, model, now, explain=True)
            job.choices.setdefault(model.name, choice)
            job.latest.append(choice)

    def left(self, job: Job) -> None:
        """The request is over: what it cost is told to the queue that it waited in."""
        if job.waiter is not None and job.report is not None:
            self._waits.settle(job.waiter, job.report.tokens_in + job.report.tokens_out)

    def double(self, job: Job, first: Trial, leave: Callable[[], bool]) -> Trial | None:
        """Another replica of the same model for a request that is late, taken.

        None when none is free now, or somebody waits for one, or there is no `leave`, which is asked last.
        """
        if self._waits.must_queue(job.queue):
            return None
        now = self._clock.monotonic_s()
        choice = self._choose(job, first.model, now, ask=replace(job.ask, hedge_of=first.upstream))
        if choice.deployment is None or not leave():
            return None
        return self._take(job, first.model, choice, now, Mark.HEDGE)

    def look(self, job: Job) -> Choice | None:
        """What would be chosen now; nothing is taken. None where it would wait."""
        now = self._clock.monotonic_s()
        waits = False
        for rank, model in enumerate(job.models):
            choice = job.choices[model.name] = self._choose(job, model, now, explain=True)
            if choice.deployment is not None and not waits:
                self._move(job, rank)
                return choice
            waits = waits or (not rank and self._rather_waits(job, choice))
        return None

    def _try(self, job: Job) -> Trial | None:
        """The first of the models that are left one of whose replicas has room; of a named model, first that one."""
        now = self._clock.monotonic_s()
        last = job.rank + 1 if job.broken else len(job.models)
        job.latest.clear()
        for rank in range(job.rank, last):
            model = job.models[rank]
            if model.name in job.uncovered:
                continue
            choice = self._choose(job, model, now)
            job.choices.setdefault(model.name, choice)
            job.latest.append(choice)
            if choice.deployment is not None:
                mark = self._mark(job, model)
                self._move(job, rank)
                trial = job.trial = self._take(job, model, choice, now, mark)
                return trial
            if not rank and self._rather_waits(job, choice):
                return None
        return None

    def _rather_waits(self, job: Job, choice: Choice) -> bool:
        """Whether it waits yet for the model it named, whose replicas were looked at and are only full."""
        full = [one.excluded for one in choice.candidates if one.excluded and one.excluded.code in _FULL]
        return bool(full) and min(one.retry_in_s or 0.0 for one in full) < self._alone_s(job)

    def _move(self, job: Job, rank: int) -> None:
        job.move_to(rank)
        job.ask = self._ask_for(job, job.models[rank])

    def _choose(self, job: Job, model: Model, now: float, ask: Ask | None = None, *, explain: bool = False) -> Choice:
        choice = self._chooser.choose(
            self._able(job, model),
            ask or self._ask_for(job, model),
            strategy=job.strategy,
            now=now,
            tried=job.tried,
            instances=self._instances(),
            explain=explain,
        )
        if not explain:
            self._metrics.decided(job.call.listener, self._clock.monotonic_s() - now)
        return choice

    def _able(self, job: Job, model: Model) -> Sequence[Deployment]:
        """Where the model is served; of a broken answer, by engines that can go on with it."""
        places = self._fleet.table.deployments(model.name)
        broken = job.broken
        if broken is None:
            return places
        request = job.call.request
        return [place for place in places if unable(request, broken, dialect_of(place.row.engine)) is None]

    def _take(self, job: Job, model: Model, choice: Choice, now: float, mark: Mark) -> Trial:
        deployment = choice.deployment
        if deployment is None:
            raise ValueError("nobody was chosen")
        ask = self._ask_for(job, model)
        ticket = self._fleet.take(
            deployment,
            tokens_in=choice.new_tokens,
            tokens_out=ask.tokens_out,
            expected_s=choice.expected_s(stream=ask.stream),
            panic=choice.panic,
        )
        before = job.broken.generated if job.broken else 0
        trial = Trial(
            deployment=deployment, model=model, ticket=ticket, began=now, choice=choice, mark=mark, before=before
        )
        ticket.on_lost = trial.lose
        job.trials.append(trial)
        return trial

    def _mark(self, job: Job, model: Model) -> Mark:
        """Why a call is made; all but the first are counted."""
        listener = job.call.listener
        if job.broken is not None:
            self._metrics.continued(listener, model=model.name)
            return Mark.CONTINUE
        wanted = job.wanted or model.name
        if model.name != wanted and all(trial.model is not model for trial in job.trials):
            self._metrics.fell_back(listener, model=wanted, fallback=model.name)
            return Mark.FALLBACK
        if not job.failures:
            return Mark.FIRST
        self._metrics.retried(listener, model=model.name, fault=job.failures[-1].error.fault.value)
        return Mark.RETRY


def _hopes(choice: Choice) -> Iterator[float]:
    """In how many seconds each of its replicas may have room; 0 where nobody knows, so that it may be at any time."""
    for one in choice.candidates:
        if one.excluded is not None and not one.excluded.lasting:
            yield one.excluded.retry_in_s or 0.0


def _is_choosy(job: Job) -> bool:
    """Whether a replica that is of no use to this request may be free for another in the same queue."""
    if job.tried or job.broken is not None or job.queue == AUTO:
        return True
    seen = (one.excluded for choice in job.latest for one in choice.candidates)
    return any(excluded is not None and excluded.code is Exclusion.CONTEXT for excluded in seen)
