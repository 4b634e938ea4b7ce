"""The main job: one request from its admitted call to its settled row, the same for all doors.

In this order, and nowhere else:

1. room in the ledger: what could not be recorded is not begun;
2. which models: the name's and its fallbacks, or by what the request needs;
3. leave: what it may take of its caller's limits is reserved, before any replica is taken or waited for;
4. which replica: chosen and taken in the same turn, it counts as that replica's load from here on;
5. the call, whose bytes pass `relay` to the sink, whose await is the back-pressure; when it is late to answer, its
   double elsewhere;
6. a failure: again elsewhere while no part of the answer reached the client, on from where it broke when that can be
   done, else an honest end;
7. settled, with the row written, before the answer's last bytes; and in one `finally` without awaits whatever is
   still open: connections cut, load given back, row written.

Errors before the status is out are raised as `RequestError`; later ones go into the stream, without `[DONE]`. Decides
the order; what is decided in a step, the step's own module decides.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from random import random
from typing import Any, Final, TypeVar

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.aftermath import Aftermath
from citadel_edge.completions.answers import Answers
from citadel_edge.completions.asking import Asking
from citadel_edge.completions.books import Books, Recorder
from citadel_edge.completions.call import Call, ClientGone, Report, Sink
from citadel_edge.completions.charging import Charges, budget_usd
from citadel_edge.completions.decisions import Decisions
from citadel_edge.completions.endings import EngineRefused, Failed, ending, error_event
from citadel_edge.completions.hedges import Hedges
from citadel_edge.completions.inheriting import demand_future, inherit, stand
from citadel_edge.completions.job import Job
from citadel_edge.completions.metrics import CompletionMetrics
from citadel_edge.completions.placing import Placing
from citadel_edge.completions.recording import preview
from citadel_edge.completions.refusal import Refusal
from citadel_edge.completions.stage import Pace, Stage
from citadel_edge.completions.upstreams import Upstreams
from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.errors import Code, RequestError, UpstreamError
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.limits.claims import Decision as Decided
from citadel_edge.limits.limiter import Limiter
from citadel_edge.routing.chooser import Chooser
from citadel_edge.routing.decision import Decision
from citadel_edge.routing.feedback import LearnedSkills
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
        decisions: what was decided of late.
        asking: what requests ask for; estimates are learned there.
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
        limiter: Limiter,
        pace: Pace | None = None,
        skills: LearnedSkills | None = None,
        instances: Callable[[], int] = lambda: 1,
        rng: Callable[[], float] = random,
        shelter: asyncio.TaskGroup | None = None,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._clock = clock
        self._pace = pace or Pace()
        chooser = Chooser(rng=rng)
        self.decisions = Decisions(hub)
        self.asking = Asking(
            config, fleet, clock=clock, skills=skills or LearnedSkills(), budget_usd=partial(budget_usd, limiter)
        )
        self._charges = Charges(limiter, self.asking)
        self._books = Books(
            ledger=ledger,
            fleet=fleet,
            decisions=self.decisions,
            asking=self.asking,
            charges=self._charges,
            clock=clock,
            metrics=metrics,
        )
        self._placing = Placing(
            config=config,
            fleet=fleet,
            chooser=chooser,
            ask_for=self.asking.ask_for,
            cover=self._charges.cover,
            clock=clock,
            metrics=metrics,
            instances=instances,
        )
        self._aftermath = Aftermath(self._books, self._placing.left, shelter)
        self._upstreams = Upstreams(config=config, fleet=fleet, client=client, books=self._books, clock=clock)
        hedges = Hedges(
            config, placing=self._placing, upstreams=self._upstreams, books=self._books, clock=clock, metrics=metrics
        )
        self._answers = Answers(
            placing=self._placing,
            upstreams=self._upstreams,
            hedges=hedges,
            fleet=fleet,
            chooser=chooser,
            clock=clock,
            metrics=metrics,
        )

    @property
    def catalogue(self) -> Catalogue:
        """The models as they are configured now."""
        return self.asking.catalogue

    async def run(self, call: Call, sink: Sink) -> Report:
        """Carry a call to its end.

        Raises:
            RequestError: the request failed before a status was sent; it is recorded all the same.
            ClientGone: there is nobody to answer.
        """
        if call.earlier is None:  # what has begun is paid for, whatever becomes of it
            self._ledger.check_room()
        job = self._begin(call)
        try:
            if call.earlier is None:
                await self._admit(job)
            if call.request.stream:
                await self._stream(job, sink)
            else:
                await self._whole(job, sink)
        except EngineRefused as error:
            await self._pass_on(job, sink, error.refusal)
        except RequestError as error:
            self._books.deny(job, error)
            self._books.settle(job, Outcome.ERROR, status=error.code.status, code=error.code.text)
            error.headers.update(job.headers())
            raise
        except ClientGone:
            raise
        except Exception:  # a fault of ours, whatever it is: nobody pays for what did not arrive, and it is raised on
            self._books.settle(job, Outcome.ERROR, status=Code.INTERNAL.status, code=Code.INTERNAL.text)
            raise
        finally:
            self._aftermath.close(job)
        return _reported(job)

    def explain(self, call: Call) -> Decision:
        """What would be decided for a call at this moment. Nothing is taken, sent or recorded.

        Raises:
            RequestError: as `run`, for what the request itself is refused for.
        """
        job = self._begin(call)
        self.asking.read(job, thorough=True)
        choice = self._placing.look(job)
        return preview(job, choice, self.asking.cost_usd(job, choice))

    async def look(self, call: Call) -> Decided:
        """How a call stands with its caller's limits at this moment. Nothing is taken. Raises as `explain`."""
        job = self._begin(call)
        self.asking.read(job)
        return await self._charges.look(job)

    def _begin(self, call: Call) -> Job:
        total_s = self._config.value.routing.timeouts.total_s
        within_s = total_s if call.deadline_s is None else min(total_s, call.deadline_s)
        age_s = call.earlier.age_s if call.earlier else 0.0
        job = Job(
            call=call,
            id=call.id or uuid7(self._clock),
            started=self._clock.monotonic_s() - age_s,
            created_at=self._clock.now() - timedelta(seconds=age_s),
            due=asyncio.get_running_loop().time() + within_s - age_s,
        )
        if call.earlier is not None:
            inherit(job, call.earlier)
        return job

    async def _admit(self, job: Job) -> None:
        """Find out what it needs, and take it of its caller's limits."""
        self.asking.read(job)
        await self._charges.admit(job)
        if job.call.on_admitted is not None:
            job.call.on_admitted()

    async def _streamed(self, job: Job, stage: Stage) -> bytes:
        """Have a stream answered from its beginning, or from where another process left it."""
        if job.call.earlier is not None:
            self.asking.read(job)
            stand(job, job.call.earlier)
            await self._charges.take_over(job, job.call.earlier.reservations)
            demand_future(job, job.call.earlier)
        return await self._answers.streamed(job, stage)

    async def _whole(self, job: Job, sink: Sink) -> None:
        """An answer in one piece: unchanged, once it is known to be one."""
        body, content_type = await self._in_time(job, self._answers.whole(job))
        self._books.settle(job, Outcome.DONE, status=_OK)
        await _send(sink, _OK, content_type, body, job)

    async def _pass_on(self, job: Job, sink: Sink, refusal: Refusal) -> None:
        """The engine's refusal is the answer."""
        self._books.settle(job, Outcome.ERROR, status=refusal.status, code=refusal.code)
        await _send(sink, refusal.status, "application/json", refusal.body(), job)

    async def _stream(self, job: Job, sink: Sink) -> None:
        stage = Stage(sink, pace=self._pace, headers=job.headers, spawn=job.call.spawn, begun=job.answer_begun)
        async with stage.kept_warm():
            try:
                last = await self._in_time(job, self._streamed(job, stage))
            except (RequestError, EngineRefused) as error:
                if job.call.tenure is not None:
                    await job.call.tenure.confirm()
                if not stage.begun:
                    raise
                await self._end_in_stream(job, stage, error)
                return
            if job.call.tenure is not None:
                await job.call.tenure.confirm()
            self._books.settle(job, Outcome.DONE, status=_OK)
            await stage.write(last + DONE)
            await stage.finish()
        await _linger(job)

    async def _in_time(self, job: Job, answering: Coroutine[Any, Any, T]) -> T:
        """An answer, while the request's time runs."""
        try:
            async with asyncio.timeout_at(job.due) as limit:
                return await answering
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._upstreams.out_of_time(job) from error

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
