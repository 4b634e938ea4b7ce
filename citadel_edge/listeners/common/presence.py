"""Who is being served right now: so that a key that ends takes its running requests with it.

Decides nothing but whom an ending concerns. A request is its handler's task; ending it is cancelling it, which
cancels its upstream and settles its row like any client that leaves.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from citadel_edge.accounts.news import News
from citadel_edge.accounts.principal import Principal


class Presence:
    """The requests under way at one door, by task."""

    def __init__(self) -> None:
        self._served: dict[asyncio.Task[object], Principal] = {}

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
        """Cancel the requests of callers whom the news ends."""
        for task, principal in tuple(self._served.items()):
            if news.ends(principal):
                task.cancel("the key was revoked")
