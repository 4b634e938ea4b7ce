"""The main job: one request from its admitted call to its settled row, the same for all doors.

In this order, and nowhere else:

1. room in the ledger: what could not be recorded is not begun;
2. which model: the name's, if the caller may use it;
3. which replica: the least in flight; taken in the same turn, it counts as that replica's load from here on
   (whatever limits a request stands before this step: a replica is no place to wait for leave);
4. the call, whose bytes pass `relay` to the sink, whose await is the back-pressure;
5. a failure: again elsewhere while no part of the answer reached the client, else an honest end;
6. settled, with the row written, before the answer's last bytes; and in one `finally` without awaits whatever is
   still open: connection cut, load given back, row written.

Errors before the status is out are raised as `RequestError`; later ones go into the stream, without `[DONE]`. Decides
the order; what is decided in a step, the step's own module decides.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.books import Books, Recorder
from citadel_edge.completions.call import Call, ClientGone, Report, Sink
from citadel_edge.completions.decisions import Decisions
from citadel_edge.completions.endings import EngineRefused, Failed, ending, error_event
from citadel_edge.completions.job import Job, Trial
from citadel_edge.completions.metrics import CompletionMetrics
from citadel_edge.completions.refusal import Refusal
from citadel_edge.completions.relay import Relay, read_whole
from citadel_edge.completions.stage import Pace, Stage
from citadel_edge.completions.upstreams import Upstreams
from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.errors import Code, RequestError, UpstreamError
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.routing.models import Catalogue
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub
from citadel_edge.telemetry.ids import uuid7
from citadel_edge.wire.sse import DONE

__all__ = ["Call", "ClientGone", "Outcome", "Pace", "Pipeline", "Recorder", "Report", "Sink"]

T = TypeVar("T")
_LINGER_S: Final = 0.1
_OK: Final = 200


class Pipeline:
    """One object a process.

    Attributes:
        catalogue: the models as they are configured now.
        decisions: what was decided of late.
    """

    def __init__(
        self,
        *,
        config: Live[Config],
        fleet: Fleet,
        client: UpstreamClient,
        ledger: Recorder,
        hub: Hub,
        clock: Clock,
        metrics: CompletionMetrics,
        pace: Pace | None = None,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._pace = pace or Pace()
        self.decisions = Decisions(hub)
        self._books = Books(ledger=ledger, fleet=fleet, decisions=self.decisions, clock=clock, metrics=metrics)
        self._upstreams = Upstreams(
            config=config, fleet=fleet, client=client, books=self._books, clock=clock, metrics=metrics
        )
        self._follow(config.value)
        config.watch(self._follow)

    def _follow(self, config: Config) -> None:
        self.catalogue = Catalogue(config.models, created=int(self._clock.unix_s()))

    async def run(self, call: Call, sink: Sink) -> Report:
        """Carry a call to its end.

        Raises:
            RequestError: the request failed before a status was sent; it is recorded all the same.
            ClientGone: there is nobody to answer.
        """
        self._ledger.check_room()
        job = self._begin(call)
        try:
            job.model = self.catalogue.resolve(call.request.model, call.principal.may_use)
            if call.request.stream:
                await self._stream(job, sink)
            else:
                await self._whole(job, sink)
        except EngineRefused as error:
            await self._pass_on(job, sink, error.refusal)
        except RequestError as error:
            self._books.settle(job, Outcome.ERROR, status=error.code.status, code=error.code.text)
            error.headers.update(job.headers())
            raise
        except ClientGone:
            raise
        except Exception:  # a fault of ours, whatever it is: nobody pays for what did not arrive, and it is raised on
            self._books.settle(job, Outcome.ERROR, status=Code.INTERNAL.status, code=Code.INTERNAL.text)
            raise
        finally:
            self._books.close(job)
        return _reported(job)

    def _begin(self, call: Call) -> Job:
        total_s = self._config.value.routing.timeouts.total_s
        within_s = total_s if call.deadline_s is None else min(total_s, call.deadline_s)
        return Job(
            call=call,
            id=uuid7(self._clock),
            started=self._clock.monotonic_s(),
            created_at=self._clock.now(),
            due=asyncio.get_running_loop().time() + within_s,
        )

    async def _whole(self, job: Job, sink: Sink) -> None:
        """An answer in one piece: unchanged, once it is known to be one."""
        body, content_type = await self._in_time(job, self._read_whole)
        self._books.settle(job, Outcome.DONE, status=_OK)
        await _send(sink, _OK, content_type, body, job)

    async def _pass_on(self, job: Job, sink: Sink, refusal: Refusal) -> None:
        """The engine's refusal is the answer."""
        self._books.settle(job, Outcome.ERROR, status=refusal.status, code=refusal.code)
        await _send(sink, refusal.status, "application/json", refusal.body(), job)

    async def _read_whole(self, job: Job, trial: Trial) -> tuple[bytes, str]:
        answer = await self._upstreams.open(job, trial)
        body = await self._upstreams.read(job, answer)
        job.usage = read_whole(body)
        return body, answer.content_type or "application/json"

    async def _stream(self, job: Job, sink: Sink) -> None:
        stage = Stage(sink, pace=self._pace, headers=job.headers, spawn=job.call.spawn)
        async with stage.kept_warm():
            try:
                last = await self._in_time(job, lambda job, trial: self._relay(job, trial, stage))
            except (RequestError, EngineRefused) as error:
                if not stage.begun:
                    raise
                await self._end_in_stream(job, stage, error)
                return
            self._books.settle(job, Outcome.DONE, status=_OK)
            await stage.write(last + DONE)
            await stage.finish()
        await _linger(job)

    async def _relay(self, job: Job, trial: Trial, stage: Stage) -> bytes:
        """Pass an answer on up to its terminal; the bytes that go out with it."""
        answer = await self._upstreams.open(job, trial)
        relay = job.relay = Relay(strip_usage=not job.call.request.include_usage)
        no_token, passed = True, b""
        async for data in answer.chunks():
            passed = relay.feed(data)
            if no_token and relay.content_chunks:
                no_token = False
                answer.first_token_seen()
                self._first_token(job)
            if relay.over:
                break
            if passed:
                job.answer_begun = True
                await stage.write(passed)
                passed = b""
        if job.answer_begun and passed and not relay.done:  # what came before the failure, in the same bytes
            await stage.write(passed)
        relay.end()
        return passed

    def _first_token(self, job: Job) -> None:
        job.first_token_at = self._clock.monotonic_s()
        seconds = job.first_token_at - job.started
        self._metrics.first_token(job.call.listener, model=job.model_name, seconds=seconds)

    async def _in_time(self, job: Job, once: Callable[[Job, Trial], Awaitable[T]]) -> T:
        """`_until_answered`, while the request's time runs."""
        try:
            async with asyncio.timeout_at(job.due) as limit:
                return await self._until_answered(job, once)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._upstreams.out_of_time(job) from error

    async def _until_answered(self, job: Job, once: Callable[[Job, Trial], Awaitable[T]]) -> T:
        """Make calls until one is answered or nothing is left to try."""
        while True:
            trial = self._upstreams.choose(job)
            try:
                return await once(job, trial)
            except UpstreamError as error:
                self._upstreams.failed(job, trial, error)

    async def _end_in_stream(self, job: Job, stage: Stage, error: Failed) -> None:
        """The status is out: say what went wrong as the stream's last event."""
        outcome, code = ending(job, error)
        self._books.settle(job, outcome, status=_OK, code=code)
        try:
            async with asyncio.timeout(self._pace.last_words_s):
                await stage.write(error_event(error))
                await stage.finish()
        except TimeoutError as late:
            raise ClientGone("the client does not read") from late


async def _send(sink: Sink, status: int, content_type: str, body: bytes, job: Job) -> None:
    await sink.begin(status, content_type, {**job.headers(), "Content-Length": str(len(body))})
    await sink.write(body)
    await sink.finish()


async def _linger(job: Job) -> None:
    """The client has its answer: give the upstream a moment to end its own, so that the connection can be kept."""
    answer = job.trial.answer if job.trial else None
    if answer is None or answer.finished:
        return
    try:
        async with asyncio.timeout(_LINGER_S):
            async for _ in answer.chunks():
                pass
    except (TimeoutError, UpstreamError):
        return  # then it is cut


def _reported(job: Job) -> Report:
    if job.report is None:
        raise RuntimeError("a request left without being settled")
    return job.report
