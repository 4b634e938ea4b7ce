"""From a job to an answer's first bytes: choosing and taking a replica, calling it, judging it when it fails.

Acts on what `routing` decides. Refuses to know what is done with an answer's bytes.
"""

from typing import Final

from citadel_edge.completions.books import Books
from citadel_edge.completions.endings import Failed, broken_off, over_time, passed_on
from citadel_edge.completions.job import Job, Trial
from citadel_edge.completions.metrics import CompletionMetrics
from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.errors import RequestError, UpstreamError, UpstreamFault
from citadel_edge.fleet.answer import MAX_ANSWER_BYTES, UpstreamAnswer
from citadel_edge.fleet.client import CallTimeouts, UpstreamClient
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.table import Verdict
from citadel_edge.routing.candidates import choose
from citadel_edge.routing.retry import Failure, Judgement, exhausted, is_busy, judge, no_replica, try_again
from citadel_edge.telemetry.clock import Clock

_OK: Final = 200
_ERROR_BYTES: Final = 64 * 2**10


class Upstreams:
    """The pipeline's way to the fleet."""

    def __init__(
        self,
        *,
        config: Live[Config],
        fleet: Fleet,
        client: UpstreamClient,
        books: Books,
        clock: Clock,
        metrics: CompletionMetrics,
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._client = client
        self._books = books
        self._clock = clock
        self._metrics = metrics

    def choose(self, job: Job) -> Trial:
        """Choose a replica and take it, in one turn of the loop.

        Raises:
            RequestError: none is left.
            EngineRefused: none is left, and the last one refused the request.
        """
        job.forget_answer()
        now = self._clock.monotonic_s()
        choice = choose(self._fleet.table.deployments(job.model_name), now=now, tried=job.tried)
        self._metrics.decided(job.call.listener, self._clock.monotonic_s() - now)
        deployment = choice.deployment
        if not job.failures:
            job.candidates = choice.candidates
            job.chosen = deployment.row.id if deployment else None
        if deployment is None:
            raise self._none_left(job)
        if job.failures:
            fault = job.failures[-1].error.fault.value
            self._metrics.retried(job.call.listener, model=job.model_name, fault=fault)
        trial = job.trial = Trial(deployment, self._fleet.take(deployment), now)
        return trial

    def _none_left(self, job: Job) -> Failed:
        if job.judgement is None:
            return no_replica(job.model_name, job.candidates)
        if job.judgement.refusal:
            return passed_on(job, job.failures[-1].error)
        return exhausted(job.model_name, job.failures)

    async def open(self, job: Job, trial: Trial) -> UpstreamAnswer:
        """Call the replica; its answer, if it is one.

        Raises:
            UpstreamError: no answer, or one that is not 200, or no stream where one was asked for.
        """
        call, row = job.call, trial.deployment.row
        stream = call.request.stream
        answer = trial.answer = await self._client.open(
            row,
            call.request.kind.path,
            call.request.upstream_body(trial.deployment.model),
            headers={"X-Request-Id": call.request_id, "traceparent": call.traceparent},
            timeouts=self._timeouts(job),
            stream=stream,
        )
        if answer.status != _OK:
            raise await self._refused(answer, trial)
        if stream and not answer.content_type.startswith("text/event-stream"):
            message = f"it answered a stream with {answer.content_type[:80]!r}"
            raise UpstreamError(UpstreamFault.MALFORMED, message, status=_OK)
        return answer

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
        if job.attempts_made() > self._config.value.routing.retries:
            return True
        now = self._clock.monotonic_s()
        others = self._fleet.table.deployments(job.model_name)
        busy = {*job.tried, job.trial.upstream if job.trial else None}
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
        """A call failed: give its load back, judge the replica, and return if another call may be made.

        Raises:
            RequestError: it was the last.
            EngineRefused: the engine refused the request, in words that the client shall hear.
        """
        judgement = judge(error, dialect_of(trial.deployment.row.engine))
        self._charge(job, trial, error, judgement)
        retries = self._config.value.routing.retries
        if try_again(judgement, attempts=len(job.attempts), retries=retries, answer_begun=job.answer_begun):
            return
        raise (broken_off(job, error) if job.answer_begun else self._none_left(job)) from error

    def _charge(self, job: Job, trial: Trial, error: UpstreamError, judgement: Judgement) -> None:
        row = trial.deployment.row
        trial.let_go()
        self._books.end_trial(job, judgement.verdict, error.fault.value, error=error, cooldown_s=judgement.cooldown_s)
        if judgement.suspect:
            self._fleet.suspect(row, str(error))
        job.judgement = judgement
        job.failures.append(Failure(row.id, error))
        job.tried[row.id] = judgement.same_again and row.id not in job.tried

    def out_of_time(self, job: Job) -> RequestError:
        """The request's time is over: cut the call under way.

        Only a silence as long as the configured total is a replica's fault; a client may be as impatient as it likes.
        """
        total_s = self._config.value.routing.timeouts.total_s
        if job.trial:
            job.trial.let_go()
        own = job.call.deadline_s is None or job.call.deadline_s >= total_s
        silent = own and job.first_token_at is None and not job.failures
        verdict = Verdict.FAULT if silent else Verdict.NONE
        self._books.end_trial(job, verdict, UpstreamFault.TOTAL_TIMEOUT.value)
        return over_time(job, total_s=total_s)
