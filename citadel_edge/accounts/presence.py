"""Who is being served right now, so that a key that ends, or a process that ends, takes running requests with it.

Decides whom an ending concerns. A request is its handler's task; ending it is cancelling it with the reason, which
its door tells the client (`reason_of`). Refuses to know what the request was doing.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from citadel_edge.accounts.news import News
from citadel_edge.accounts.principal import Principal


class Reason(StrEnum):
    """Why a running request is ended by us. Anything else that cancels it is the client's leaving."""

    REVOKED = "the key was revoked"
    DRAINING = "the process is being stopped"


class Presence:
    """The requests under way, by task."""

    def __init__(self) -> None:
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
        try:
            yield
        finally:
            del self._served[task]

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
