"""A call and, should it be late, its double on another replica: whoever begins to answer first has the request.

Decides when the double starts (after the time within which 95 % of such calls had begun) and who is cut off. A request
is charged once: the loser's tokens are nobody's. Refuses to know what starting means and how a double is chosen.

The first call runs in the request's own task; only a double needs a task, so a request that is answered in time pays
for a timer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from citadel_edge.completions.job import Job, Trial
from citadel_edge.errors import CitadelError, UpstreamError
from citadel_edge.groups import plain_group

T = TypeVar("T")
Start = Callable[[Job, Trial], Awaitable[T]]


class Overtaken(CitadelError):
    """The other call of the request began to answer first."""


@dataclass(frozen=True, slots=True)
class Hedge:
    """The leave for one double.

    Attributes:
        delay_s: seconds to wait for the first call.
        choose: takes another replica for the request, in one turn of the loop; null when there is none.
        failed: told of the call of the two that failed while the other ran on.
        lost: told of the call that was overtaken.
    """

    delay_s: float
    choose: Callable[[], Trial | None]
    failed: Callable[[Trial, UpstreamError], None]
    lost: Callable[[Trial], None]


@dataclass(slots=True, eq=False)
class Race(Generic[T]):
    """One request's two calls."""

    job: Job
    start: Start[T]
    hedge: Hedge
    _double: Trial | None = None
    _task: asyncio.Task[None] | None = None
    _won: list[T] = field(default_factory=list)
    _error: Exception | None = None

    async def run(self, first: Trial) -> T:
        """What the winner's start answered; `job.trial` is the winner, or the call that failed last.

        Raises:
            UpstreamError: both failed, or the first before there was a double.
        """
        async with plain_group() as group:
            timer = asyncio.get_running_loop().call_later(self.hedge.delay_s, self._begin, group, first)
            try:
                return await self._decide(first)
            finally:
                timer.cancel()

    async def _decide(self, first: Trial) -> T:
        try:
            result = await self.start(self.job, first)
        except Overtaken:
            pass
        except UpstreamError as error:
            if not self._running:
                raise
            self.hedge.failed(first, error)
            return await self._outcome()
        except CitadelError:  # the request's own end
            self._cut_off()
            raise
        if self._won:  # perhaps in this very turn: the first was told already that it lost, and cannot go on
            self.hedge.lost(first)
            return self._won[0]
        self._cut_off()
        self.job.trial = first
        return result

    @property
    def _running(self) -> bool:
        return self._task is not None and self._double is not None and self._error is None

    def _begin(self, group: asyncio.TaskGroup, first: Trial) -> None:
        self._double = self.hedge.choose()
        if self._double is not None:
            self._task = self.job.call.spawn(group, self._run_double(first, self._double), name="hedge")

    async def _run_double(self, first: Trial, double: Trial) -> None:
        try:
            result = await self.start(self.job, double)
        except UpstreamError as error:
            self._error = error
            if first.ticket.open:
                self.hedge.failed(double, error)
        except CitadelError as error:  # the request's own end: told by whoever waits for the first call
            self._error = error
            self.hedge.lost(double)
            first.lose(error)
        else:
            self._won.append(result)
            self.job.trial = double
            first.lose(Overtaken("its double began to answer first"))

    async def _outcome(self) -> T:
        """The first call failed: all hangs on its double."""
        if self._task is not None:
            await asyncio.wait({self._task})
        self.job.trial = self._double
        if self._error is not None:
            raise self._error
        return self._won[0]

    def _cut_off(self) -> None:
        """The first call decides: a double that still runs is overtaken."""
        if self._task is not None and self._double is not None and not self._task.done():
            self._task.cancel()
            self.hedge.lost(self._double)
