"""What is left to do for a request whose client has gone: hear its engine out, so that its count is exact.

An engine that is cut off has sent tokens that nobody has read yet, and goes on until it notices. So our half of the
connection is closed, which stops it as surely, and what it had sent until then is read to the end, counted and charged.
It has a moment for that; then it is cut. Decides how long that is. Refuses to know how counts are kept.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from citadel_edge.completions.books import Books
from citadel_edge.completions.job import Job, Trial
from citadel_edge.errors import UpstreamError

HEARD_OUT_S: Final = 0.08
LATE_S: Final = 0.02
"""So much later than asked for, the waiting itself was held up: what the engine sent perhaps lies here unread."""
CHANCES: Final = 5


class Aftermath:
    """One object a process.

    Args:
        left: told of each request that is over, last.
        group: of tasks that outlive requests; without one, engines are cut at once.
    """

    def __init__(self, books: Books, left: Callable[[Job], None], group: asyncio.TaskGroup | None) -> None:
        self._books = books
        self._left = left
        self._group = group

    def close(self, job: Job) -> None:
        """The request is over: whatever is open is closed, now or when its engine has been heard out."""
        trial = job.trial
        if self._group is None or job.report is not None or trial is None or not _hang_up(trial):
            self._end(job)
            return
        for other in job.trials:
            if other is not trial:
                other.let_go()
        self._group.create_task(self._hear_out(job, trial), name="hear an engine out")

    async def _hear_out(self, job: Job, trial: Trial) -> None:
        clock = asyncio.get_running_loop().time
        try:
            for _ in range(CHANCES):
                due = clock() + HEARD_OUT_S
                if await _ended(trial, due) or clock() - due < LATE_S:
                    return
        except UpstreamError:
            return  # its connection broke, as it may now
        finally:
            self._end(job)

    def _end(self, job: Job) -> None:
        self._books.close(job)
        self._left(job)


def _hang_up(trial: Trial) -> bool:
    """Whether the engine has ended, or was told that nobody listens any more, and may have sent more than was read."""
    answer, relay = trial.answer, trial.relay
    if answer is None or relay is None or relay.over:
        return False
    return answer.finished or answer.hang_up()


async def _ended(trial: Trial, due: float) -> bool:
    """Whether the engine said its last before `due`, in the loop's time; what it says is counted."""
    if trial.answer is None or trial.relay is None:
        return True
    try:
        async with asyncio.timeout_at(due):
            async for data in trial.answer.chunks():
                trial.relay.feed(data)
    except TimeoutError:
        return False
    return True
