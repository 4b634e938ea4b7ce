"""Getting an answer: call after call until one is answered, or goes on to the end from where another broke off.

Decides only what is next. Who is called (`placing`), what a failure leads to (`upstreams`), when a call gets a double
(`hedges`) and what of a stream reaches the client (`relay`) is decided there. Refuses to know how a request ends.
"""

from citadel_edge.completions.continuation import last_words, listen, nothing_left, resume
from citadel_edge.completions.hedges import Hedges
from citadel_edge.completions.job import Job, Trial
from citadel_edge.completions.metrics import CompletionMetrics
from citadel_edge.completions.placing import Placing
from citadel_edge.completions.relay import Relay, read_whole
from citadel_edge.completions.stage import Stage
from citadel_edge.completions.upstreams import Upstreams
from citadel_edge.errors import UpstreamError
from citadel_edge.fleet.answer import UpstreamAnswer
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.routing.chooser import Chooser
from citadel_edge.telemetry.clock import Clock


class Answers:
    """One object a process."""

    def __init__(
        self,
        *,
        placing: Placing,
        upstreams: Upstreams,
        hedges: Hedges,
        fleet: Fleet,
        chooser: Chooser,
        clock: Clock,
        metrics: CompletionMetrics,
    ) -> None:
        self._placing = placing
        self._upstreams = upstreams
        self._hedges = hedges
        self._fleet = fleet
        self._chooser = chooser
        self._clock = clock
        self._metrics = metrics

    async def whole(self, job: Job) -> tuple[bytes, str]:
        """Make calls until one is answered or nothing is left to try."""
        self._upstreams.begin(job)
        while True:
            trial = await self._placing.place(job)
            try:
                return await self._hedges.run(job, trial, self._read_whole)
            except UpstreamError as error:
                self._upstreams.failed(job, job.trial or trial, error)

    async def _read_whole(self, job: Job, trial: Trial) -> tuple[bytes, str]:
        answer = await self._upstreams.open(job, trial)
        body = await self._upstreams.read(job, answer)
        trial.usage = read_whole(body)
        self._chooser.learned(trial.deployment, job.ask)
        self._hedges.answered(job, trial)
        return body, answer.content_type or "application/json"

    async def streamed(self, job: Job, stage: Stage) -> bytes:
        """Pass on what calls answer, each from where the one before broke off; the bytes for the terminal's write."""
        self._upstreams.begin(job)
        request = job.call.request
        while job.broken is None or not nothing_left(request, job.broken):
            trial = await self._placing.place(job)
            try:
                passed = await self._hedges.run(job, trial, self._begin_stream)
                return await self._relay(job, stage, passed)
            except UpstreamError as error:
                self._upstreams.failed(job, job.trial or trial, error)
        return last_words(request, job.broken, prompt_tokens=job.ask.tokens_in)

    async def _begin_stream(self, job: Job, trial: Trial) -> bytes:
        """Open a stream and read until there is something for the client, or the answer ends without.

        Raises:
            UpstreamError: it failed before; a call that answers only to fail at once has not begun.
        """
        answer = await self._upstreams.open(job, trial)
        relay = trial.relay = _listen(job, trial)
        passed = b""
        async for data in answer.chunks():
            passed = relay.feed(data)
            if relay.content_chunks and trial.first_token_at is None:
                self._first_token(job, trial)
            if passed or relay.over:
                break
        if relay.failure is not None or not passed:
            relay.end()
        return passed

    async def _relay(self, job: Job, stage: Stage, passed: bytes) -> bytes:
        """Pass the answer of the call that counts on up to its terminal; the bytes that go out with it."""
        answer, relay, trial = _streaming(job)
        if stage.begun and job.call.on_moved is not None:
            job.call.on_moved(job.headers())
        if passed and not relay.over:
            self._reaches(job, trial)
            await stage.write(passed)
            passed = b""
        while not relay.over:
            data = await anext(answer, None)
            if data is None:
                break
            passed = relay.feed(data)
            if trial.first_token_at is None and relay.content_chunks:
                self._first_token(job, trial)
            if passed and not relay.over:
                if job.first_token_at is None:
                    self._reaches(job, trial)
                await stage.write(passed)
                passed = b""
        if job.answer_begun and passed and not relay.done:  # what came before the failure, in the same bytes
            await stage.write(passed)
        relay.end()
        self._reaches(job, trial)
        return passed

    def _reaches(self, job: Job, trial: Trial) -> None:
        """A part of the answer goes out, perhaps with the first token that its client sees."""
        new = job.first_token_at is None
        job.reaches_client(trial.first_token_at)
        if new and job.first_token_at is not None:
            seconds = job.first_token_at - job.started
            self._metrics.first_token(job.call.listener, model=trial.model.name, seconds=seconds)

    def _first_token(self, job: Job, trial: Trial) -> None:
        """A call's prefill is over."""
        trial.first_token_at = self._clock.monotonic_s()
        self._fleet.first_token(trial.ticket)
        self._chooser.learned(trial.deployment, job.ask)
        if trial.answer is not None:
            trial.answer.first_token_seen()
        if job.broken is None:
            self._hedges.answered(job, trial)


def _listen(job: Job, trial: Trial) -> Relay:
    request, dialect = job.call.request, dialect_of(trial.deployment.row.engine)
    if job.broken is not None:
        return resume(request, job.broken, dialect=dialect)
    return listen(request, dialect, recording=job.continuable)


def _streaming(job: Job) -> tuple[UpstreamAnswer, Relay, Trial]:
    trial = job.trial
    if trial is None or trial.answer is None or trial.relay is None:
        raise RuntimeError("no stream was begun")
    return trial.answer, trial.relay, trial
