"""Who is being served right now, so that a key that ends, or a process that ends, takes running requests with it.

Decides whom an ending concerns. A request is its handler's task; ending it is cancelling it with the reason, which
its door tells the client (`reason_of`). Refuses to know what the request was doing.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from citadel_edge.accounts.news import News
from citadel_edge.accounts.principal import Principal
from citadel_edge.telemetry.clock import Clock

LONGEST_S: Final = 30 * 86_400.0
"""No request is served for longer; a timer may be set for no longer."""


class Reason(StrEnum):
    """Why a running request is ended by us. Anything else that cancels it is the client's leaving."""

    REVOKED = "the key has ended, or its user's rights have"
    DRAINING = "the process is being stopped"


class Presence:
    """The requests under way, by task."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._served: dict[asyncio.Task[object], Principal] = {}

    def __len__(self) -> int:
        return len(self._served)

    @contextmanager
    def of(self, principal: Principal) -> Iterator[None]:
        """The current task serves this caller, inside."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served by a task")
        self._served[task] = principal
        expiry = self._expiry(task, principal)
        try:
            yield
        finally:
            if expiry is not None:
                expiry.cancel()
            del self._served[task]

    def _expiry(self, task: asyncio.Task[object], principal: Principal) -> asyncio.TimerHandle | None:
        """What ends the request when its key does."""
        if principal.expires_unix_s is None:
            return None
        left_s = min(principal.expires_unix_s - self._clock.unix_s(), LONGEST_S)
        return asyncio.get_running_loop().call_later(left_s, task.cancel, Reason.REVOKED)

    def end(self, news: News) -> None:
        """End the requests of callers whom the news ends."""
        for task, principal in tuple(self._served.items()):
            if news.ends(principal):
                task.cancel(Reason.REVOKED)

    def end_all(self) -> None:
        """End every request: the process goes."""
        for task in tuple(self._served):
            task.cancel(Reason.DRAINING)


def reason_of(error: asyncio.CancelledError) -> Reason | None:
    """Why we ended it; null when the client left."""
    return next((word for word in error.args if isinstance(word, Reason)), None)
