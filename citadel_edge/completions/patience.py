"""How long requests have waited, and how long one that named a full model waits for it alone before a fallback is used.

Decides when a request has waited so long: at half of the time that it may wait at all. Refuses to know who has room.

Times are the event loop's own. All of it belongs to one loop.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from citadel_edge.completions.job import Job
from citadel_edge.errors import UpstreamFault
from citadel_edge.routing.objective import is_auto

_GRAIN_S: Final = 0.01  # the replicas' clock may be a hair behind the loop's


def waited_s(job: Job, now: float) -> float:
    """For how many seconds it has looked for a replica with room until `now`, those included that said they are full.

    What it has had of others, well or badly, is no waiting.
    """
    served_ms = sum(one.duration_ms for one in job.attempts if one.outcome != UpstreamFault.BUSY.value)
    return max(0.0, now - job.started - served_ms / 1000)


def alone_s(job: Job, *, waited_s: float, left_s: float) -> float:
    """Seconds for which it waits for the model it named and no other; 0 where others may be used at once.

    Args:
        job: the request.
        waited_s: how long it has waited already.
        left_s: how long it may wait yet.
    """
    if job.rank or len(job.models) == 1 or is_auto(job.call.request.model):
        return 0.0
    return max(0.0, (left_s - waited_s) / 2)


class Patience:
    """Those who wait, by their line. `tell` is called when one has waited long enough."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._until: dict[str, dict[Job, float]] = {}

    @contextmanager
    def kept(self, job: Job, seconds: float) -> Iterator[None]:
        """While it waits, and for so many seconds for the model it named alone."""
        loop = asyncio.get_running_loop()
        line = self._until.setdefault(job.queue, {})
        line[job] = loop.time() + seconds
        timer = loop.call_later(seconds + _GRAIN_S, self._tell) if seconds else None
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            del line[job]
            if not line:
                self._until.pop(job.queue, None)

    def lost(self, job: Job) -> Iterator[Job]:
        """Others in its line who may use other models than the first, though it may not yet."""
        now = asyncio.get_running_loop().time()
        return (other for other, until in self._until.get(job.queue, {}).items() if until <= now and other is not job)
