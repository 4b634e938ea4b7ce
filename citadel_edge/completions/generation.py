"""One answer being made for a stream, whoever reads it: a task that outlives its client, and its one end.

Decides why it is ended by us (nobody reads it, somebody stopped it, its key was revoked, it goes on elsewhere) and what
its terminal record says. Fails towards whoever started it as long as nothing was promised to anybody; from then on what
goes wrong stands in the stream. Refuses to know how an answer is got, and how it is read.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.presence import Presence, Reason, reason_of
from citadel_edge.budgets.budget import Seat
from citadel_edge.completions.call import Call, ClientGone, Report
from citadel_edge.completions.log_sink import LogSink
from citadel_edge.completions.pipeline import Pipeline
from citadel_edge.completions.terminals import Failure, Why, ended_for, error_of, terminal_of
from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.live import Live
from citadel_edge.streams.values import Begun, OnDisconnect, State, Terminal
from citadel_edge.telemetry.clock import Clock

REPORT_WITHIN_S: Final = 1.0
FIRST_S: Final = "first_s"


class Generation:
    """One at a time makes a stream. Runs in `run`, which has to be a task of its own.

    Attributes:
        id: the stream's.
        failed: why there is no answer, as long as it concerns its starter alone.
        promised: somebody counts on the stream: what fails from now on is told there.
        report: what was made here, once that is over; also of what another process goes on with.
    """

    def __init__(
        self,
        live: Live,
        call: Call,
        *,
        pipeline: Pipeline,
        presence: Presence,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self.id = live.id
        self.live = live
        self.failed: Failure | None = None
        self.promised = False
        self._pipeline = pipeline
        self._presence = presence
        self._clock = clock
        self._log = log
        self._on_end = call.on_end
        self._why: Why | Reason | None = None
        self.report: Report | None = None
        self._reservations: tuple[str, ...] = ()
        self._news = asyncio.Event()
        self._admitted = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._seat: Seat | None = None
        self._left = self._running = self._recorded = self._gone = False
        self.call = msgspec.structs.replace(
            call,
            tenure=self,
            on_end=self._reported,
            on_reserved=self._reserved,
            on_admitted=self._let_in,
            on_moved=self._begun,
        )
        self.sink = LogSink(live, on_begin=self._begun, on_finish=self._finish)
        self.sink.finish_reason = call.earlier.finish_reason if call.earlier is not None else None

    def launch(self, spawn: Callable[[Any], asyncio.Task[None]], over: Callable[[], None]) -> None:
        """Begin; `over` is called when nothing of it is left."""
        self._task = spawn(self._run())
        self._task.add_done_callback(lambda _: self._clean_up(over))
        self.live.watch(self._look)
        self._look()

    def promise(self) -> None:
        """Somebody counts on the stream, whatever becomes of this process."""
        self.promised = True
        if self._reservations:
            self.live.reserved(self._reservations)

    def left_alone(self, seat: Seat | None, *, told: bool) -> None:
        """Its starter goes; it keeps the seat as long as it goes on.

        One that lives with its readers is not waited for by anybody whom nobody has `told` of it.
        """
        self.promised = self._left = True
        if self._gone:
            return
        if seat is not None:
            self._seat = seat.hand_over()
        if not told and not self.live.readers and self.live.policy.on_disconnect is OnDisconnect.CANCEL:
            self.end(Why.LEFT)

    # What its starter waits for.

    async def admitted(self) -> None:
        """Return when limits let it pass. Raises why it failed before."""
        while not self._admitted and self.failed is None:
            await self._next_news()
        self._raise_failure()

    async def begun(self) -> Begun:
        """Return when the answer begins, or ends. Raises why there is none."""
        live = self.live
        while live.begun is None and live.terminal is None and self.failed is None:
            await self._next_news()
        self._raise_failure()
        return live.begun or Begun()

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _raise_failure(self) -> None:
        if self.failed is not None:
            raise self.failed

    # Whose it is (`call.Tenure`).

    @property
    def lost(self) -> bool:
        """Whether another process goes on with it."""
        return self.live.deposed or self._why is Why.HANDED_ON

    async def confirm(self) -> None:
        """Ask whether it is still ours. `ClientGone`: it is not."""
        if not await self.live.confirm():
            raise ClientGone(Why.TAKEN.value)

    # Why it ends.

    def end(self, why: Why | Reason) -> None:
        """End it. The first reason counts."""
        if self._why is None and not self._gone:
            self._why = why
            if self._task is not None and self._running:
                self._task.cancel(why)

    def _look(self) -> None:
        """Something changed around it: is it still wanted?"""
        live = self.live
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if live.terminal is not None:
            return
        if live.deposed:
            self.end(Why.TAKEN)
        elif live.stop.is_set():
            self.end(Why.STOPPED)
        elif live.forsaken_at is not None:
            self._await_reader(live.forsaken_at)

    def _await_reader(self, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        left_s = until_s - self._clock.monotonic_s()
        if left_s <= 0:
            self.end(Why.LEFT)
        else:
            self._timer = loop.call_later(left_s, self._look)

    # The task.

    async def _run(self) -> None:
        self._running = True
        if self._why is not None and (task := asyncio.current_task()) is not None:
            task.cancel(self._why)  # it was ended before it began: it is recorded all the same
        try:
            with self._presence.of(self.call.principal):
                await self._pipeline.run(self.call, self.sink)
        except asyncio.CancelledError as error:
            await self._ended(error)
        except RequestError as error:
            self._fail(error)
        except ClientGone:
            return  # it is another's
        except Exception:
            self._log.exception("unhandled", request_id=self.call.request_id, stream=self.id)
            self._fail(RequestError(Code.INTERNAL, "a fault on our side; name the request id when you report it"))

    async def _ended(self, error: asyncio.CancelledError) -> None:
        """We ended it ourselves, or the process goes without asking: then it is left for others to find."""
        task, why = asyncio.current_task(), reason_of(error) or self._why
        if task is None or why is None:
            raise error
        while task.cancelling():
            task.uncancel()
        await self._counted()
        if self.live.terminal is not None:
            return
        if why is Why.HANDED_ON:
            if not self._recorded:
                self.live.reserved(())
            await self.live.let_go()
        elif not self.lost:
            self._close(ended_for(why) if isinstance(why, Reason) else None)

    async def _counted(self) -> None:
        """Wait until its engine was heard out and its row is written."""
        task, until = asyncio.current_task(), asyncio.get_running_loop().time() + REPORT_WITHIN_S
        while self.report is None:
            try:
                async with asyncio.timeout_at(until):
                    await self._next_news()
            except asyncio.CancelledError:  # it ends already
                if task is not None:
                    task.uncancel()
            except TimeoutError:
                self._log.warning("no_report_in_time", request_id=self.call.request_id, stream=self.id)
                return

    def _clean_up(self, over: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._gone = True
        if self._seat is not None:
            self._seat.leave()
        over()
        self.live.watch(_unheard)
        del self.call, self.sink  # so that nothing of it has to wait for the garbage collector

    # What is told of it.

    def _let_in(self) -> None:
        self._admitted = True
        self._news.set()

    def _reserved(self, reservation_id: str) -> None:
        self._reservations += (reservation_id,)
        if self.promised:
            self.live.reserved(self._reservations)

    def _begun(self, headers: Mapping[str, str]) -> None:
        """The answer begins, and from here on it is the stream's; or it comes from another replica than was known.

        It counts as begun since its first event, if there is one.
        """
        self.promise()
        live, age_s = self.live, self._clock.unix_s() - self.live.origin.created_unix_s
        upstream, model = headers.get("X-Citadel-Upstream", ""), headers.get("X-Citadel-Model", "")
        facts = live.begun.facts if live.begun and live.cursor.seq else {FIRST_S: age_s}
        live.begin(Begun(headers=dict(headers), upstream=upstream, model=model, facts=facts))
        self._news.set()

    def _reported(self, report: Report) -> None:
        self.report = report
        self._news.set()
        self._recorded = not self.lost
        if self._on_end is not None and self._recorded:
            self._on_end(report)

    def _finish(self) -> None:
        if self.sink.refused is not None:
            self._fail(self.sink.refused)
        else:
            self._close(self.sink.error)

    def _fail(self, failure: Failure) -> None:
        """There is no answer, or no more of it."""
        if self.promised:
            self._close(error_of(failure), State.ERROR)
        elif self.failed is None:
            self.failed = failure
            self.live.discard()
            self._news.set()

    def _close(self, error: dict[str, Any] | None, state: State = State.CANCELLED) -> None:
        """The one terminal record. The row is written; it says how the answer ended, unless there is none."""
        if self.live.terminal is not None:
            return
        if self.report is None:
            terminal = Terminal(outcome=state, error=error)
        else:
            saved = self._saved(self.report) if self._why is Why.STOPPED else None
            terminal = terminal_of(self.report, error, self.sink, tokens_saved=saved)
        self.live.end(terminal)
        self._news.set()
        if self._left:
            facts = {} if self.report is None else self.report.facts()
            self._log.info("stream_ended", stream=self.id, request_id=self.call.request_id, **facts)

    def _saved(self, report: Report) -> int:
        """Tokens that were not made: of those that the client asked for, or that such an answer may well have had."""
        most = self._pipeline.asking.most_tokens_out(self.call.request, report.model)
        return max(0, most - report.tokens_out)


def _unheard() -> None:
    """Nobody is left to hear it."""
