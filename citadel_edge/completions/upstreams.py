"""Calls to replicas that were chosen: opened, read, and judged when they fail.

Decides with `routing.retry` and `continuation` what a failure leads to: another call, another model, or the end.
Refuses to know who is chosen and what is done with an answer's bytes.
"""

import asyncio
from typing import Final

from citadel_edge.completions.books import Books
from citadel_edge.completions.continuation import NotContinued, first_body, next_body, nothing_left, refusal
from citadel_edge.completions.endings import broken_off, none_left, over_time, passed_on
from citadel_edge.completions.job import Job, Trial
from citadel_edge.completions.patience import waited_s
from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.errors import RequestError, UpstreamError, UpstreamFault
from citadel_edge.fleet.answer import MAX_ANSWER_BYTES, UpstreamAnswer
from citadel_edge.fleet.client import CallTimeouts, UpstreamClient
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.table import Verdict
from citadel_edge.routing.retry import KEY_REFUSED, Failure, Judgement, Wish, is_busy, judge
from citadel_edge.routing.retry_budget import RetryBudget
from citadel_edge.telemetry.clock import Clock

_OK: Final = 200
_ERROR_BYTES: Final = 64 * 2**10
_IDLE: Final = frozenset({UpstreamFault.REFUSED, UpstreamFault.CONNECT_TIMEOUT, UpstreamFault.LOST})
_UNWILLING: Final = Judgement(wish=Wish.ELSEWHERE, verdict=Verdict.NONE)


class Upstreams:
    """The pipeline's way to the fleet."""

    def __init__(
        self, *, config: Live[Config], fleet: Fleet, client: UpstreamClient, books: Books, clock: Clock
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._client = client
        self._books = books
        self._clock = clock
        self._budget = RetryBudget()

    def begin(self, job: Job) -> None:
        """A request came: a part of a retry is earned."""
        self._budget.deposit(job.started)

    async def open(self, job: Job, trial: Trial) -> UpstreamAnswer:
        """Call the replica; its answer, if it is one.

        Raises:
            UpstreamError: no answer, or one that is not 200, or no stream where one was asked for.
            CitadelError: whatever the call was lost to, before it was made or while its status was awaited.
        """
        if trial.lost is not None:
            raise trial.lost
        try:
            async with asyncio.timeout(None) as trial.opening:
                answer = trial.answer = await self._call(job, trial)
        except TimeoutError:
            if trial.lost is None:
                raise
            raise trial.lost from None
        finally:
            trial.opening = None
        if trial.lost is not None:  # in the very turn in which the status came
            raise trial.lost
        if answer.status != _OK:
            raise await self._refused(answer, trial)
        if job.call.request.stream and not answer.content_type.startswith("text/event-stream"):
            message = f"it answered a stream with {answer.content_type[:80]!r}"
            raise UpstreamError(UpstreamFault.MALFORMED, message, status=_OK)
        return answer

    async def _call(self, job: Job, trial: Trial) -> UpstreamAnswer:
        call, row = job.call, trial.deployment.row
        return await self._client.open(
            row,
            call.request.kind.path,
            _body(job, trial),
            headers={"X-Request-Id": call.request_id, "traceparent": call.traceparent},
            timeouts=self._timeouts(job),
            stream=call.request.stream,
            ticket=trial.ticket,
        )

    async def read(self, job: Job, answer: UpstreamAnswer) -> bytes:
        """An answer's whole body, each part held as it comes.

        Raises:
            UpstreamError: it broke off, or is larger than any answer may be.
            RequestError: the caller may not hold as much.
        """
        parts: list[bytes] = []
        size = 0
        async for part in answer.chunks():
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamError(UpstreamFault.MALFORMED, f"its answer is larger than {MAX_ANSWER_BYTES} bytes")
            job.hold(size)
            parts.append(part)
        return b"".join(parts)

    def _timeouts(self, job: Job) -> CallTimeouts:
        """The phases' bounds. An answer in one piece comes when its generation is over: it has no first token.

        The last call that can be made gets all the time that the client gave, if it gave any: to give up early would
        help nobody.
        """
        timeouts = self._config.value.routing.timeouts
        bounded = job.call.request.stream and not (job.call.deadline_s is not None and self._is_last(job))
        return CallTimeouts(
            connect_s=timeouts.connect_s,
            first_token_s=timeouts.first_token_s if bounded else None,
            idle_s=timeouts.idle_s,
        )

    def _is_last(self, job: Job) -> bool:
        if job.selection is not None and job.rank + 1 < len(job.selection.ranked):
            return False
        if job.calls > self._config.value.routing.retries:
            return True
        now = self._clock.monotonic_s()
        others = self._fleet.table.deployments(job.model_name)
        busy = {*job.tried, *(trial.upstream for trial in job.trials if trial.ticket.open)}
        return not any(other.row.id not in busy and other.row.available(now) for other in others)

    async def _refused(self, answer: UpstreamAnswer, trial: Trial) -> UpstreamError:
        """The error of an answer that is none."""
        try:
            body = await answer.read_start(_ERROR_BYTES)
        except UpstreamError:
            body = b""  # the status says enough
        busy = is_busy(answer.status, dialect_of(trial.deployment.row.engine))
        return UpstreamError(
            UpstreamFault.BUSY if busy else UpstreamFault.STATUS,
            f"it answered with status {answer.status}",
            status=answer.status,
            body=body,
            retry_after_s=answer.retry_after_s,
        )

    def failed(self, job: Job, trial: Trial, error: UpstreamError) -> None:
        """The call that counted failed: return if another one may be made.

        Raises:
            RequestError: it was the last.
            EngineRefused: the engine refused the request, in words that the client shall hear.
        """
        judgement = job.judgement = self.charge(job, trial, error)
        if job.answer_begun:
            self._continue(job, trial, error)
        elif judgement.wish is Wish.REFUSED:
            self._refer(job, error)
        elif judgement.wish is Wish.STOP or not (self._may_retry(job, judgement, error) or job.fall_back()):
            raise none_left(job) from error

    def charge(self, job: Job, trial: Trial, error: UpstreamError) -> Judgement:
        """Give a failed call's load back and judge its replica."""
        judgement = (
            _UNWILLING if isinstance(error, NotContinued) else judge(error, dialect_of(trial.deployment.row.engine))
        )
        row = trial.deployment.row
        trial.let_go()
        self._books.end_trial(
            job, trial, judgement.verdict, error.fault.value, error=error, cooldown_s=judgement.cooldown_s
        )
        if judgement.suspect:
            self._fleet.suspect(row, str(error))
        if error.status in KEY_REFUSED:
            self._fleet.key_refused(row)
        job.failures.append(Failure(row.id, error))
        if judgement.verdict is not Verdict.BUSY:
            job.calls += 1
            again = judgement.same_again or self._is_alone(job, trial, error)
            job.tried[row.id] = again and row.id not in job.tried
        elif waited_s(job, self._clock.monotonic_s()) >= self._config.value.routing.capacity_wait_s:
            job.tried[row.id] = False  # else it is out until its cooldown is over, not for good
        return judgement

    def _is_alone(self, job: Job, trial: Trial, error: UpstreamError) -> bool:
        """Whether nobody else could answer what this replica failed at: many an error is gone with the next call."""
        others = job.rank + 1 < len(job.models) or len(self._fleet.table.deployments(trial.model.name)) > 1
        return error.fault is UpstreamFault.STATUS and not (others or job.answer_begun)

    def _may_retry(self, job: Job, judgement: Judgement, error: UpstreamError) -> bool:
        """Whether the same model is asked again. What cost no engine any work costs the budget nothing."""
        if judgement.verdict is Verdict.BUSY:
            return True
        if job.calls > self._config.value.routing.retries:
            return False
        free = error.fault in _IDLE or job.broken is not None
        job.retries_spent = not (free or self._budget.withdraw(self._clock.monotonic_s()))
        return not job.retries_spent

    def _continue(self, job: Job, trial: Trial, error: UpstreamError) -> None:
        """A part of the answer reached the client: go on with it elsewhere, if that is possible."""
        job.broken, job.broken_by = trial.relay or job.broken, job.broken_by or error
        request, broken = job.call.request, job.broken
        if broken is not None and broken.finished:
            return
        why = "nothing of it is known" if broken is None else refusal(request, broken)
        if why is None and broken is not None and nothing_left(request, broken):
            return
        if why is not None or job.judgement is None or not self._may_retry(job, job.judgement, error):
            raise broken_off(trial.upstream, error, why) from error

    def _refer(self, job: Job, error: UpstreamError) -> None:
        """The engine refused the request: only a prompt too long for it may fit elsewhere."""
        refused = passed_on(job, error)
        if not (isinstance(refused, RequestError) and job.fall_back(more_context=True)):
            raise refused from error

    def out_of_time(self, job: Job) -> RequestError:
        """The request's time is over: cut the calls under way.

        Only a silence as long as the configured total is a replica's fault; a client may be as impatient as it likes.
        """
        total_s = self._config.value.routing.timeouts.total_s
        own = job.call.deadline_s is None or job.call.deadline_s >= total_s
        silent = own and job.first_token_at is None and not job.failures
        late = over_time(job, total_s=total_s)
        for trial in job.trials:
            trial.let_go()
            verdict = Verdict.FAULT if silent else Verdict.NONE
            self._books.end_trial(job, trial, verdict, UpstreamFault.TOTAL_TIMEOUT.value)
        return late


def _body(job: Job, trial: Trial) -> bytes:
    request, dialect = job.call.request, dialect_of(trial.deployment.row.engine)
    if job.broken is None:
        return first_body(request, dialect=dialect, model=trial.deployment.model)
    return next_body(request, job.broken, dialect=dialect, model=trial.deployment.model)
