"""The log is told of streams that it does not know, or does not know any more.

Decides that a stream which cannot be told of is nobody else's trouble: it alone is set apart, which is said once. That
the log is away is no fault of a stream. Refuses to know what becomes of those that are set apart.
"""

import asyncio
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import RedisUnavailable
from citadel_edge.streams.page import Page, epochs_of
from citadel_edge.streams.store import Store


class Registering:
    """For all streams of a process.

    Args:
        on_fenced: told of a stream that is another process's by now.
        on_unfit: told of a stream that the log can never take.
    """

    def __init__(
        self,
        store: Store,
        *,
        log: FilteringBoundLogger,
        on_fenced: Callable[[Page], None],
        on_unfit: Callable[[Page], None],
    ) -> None:
        self._store = store
        self._log = log
        self._on_fenced = on_fenced
        self._on_unfit = on_unfit

    async def register(self, pages: Sequence[Page]) -> None:
        """Tell of all these together. Raises `RedisUnavailable`, when each has been tried."""
        failures = await asyncio.gather(*map(self._register, pages), return_exceptions=True)
        away: BaseException | None = None
        for page, failure in zip(pages, failures, strict=True):
            if isinstance(failure, RedisUnavailable) or not isinstance(failure, Exception | None):
                away = failure
            elif failure is not None:
                self._log.error("a stream cannot be logged", stream=page.live.id, exc_info=failure)
                self._on_unfit(page)
        if away is not None:
            raise away

    async def _register(self, page: Page) -> None:
        feed, lineage, asked_s = page.live.feed, page.live.feed.lineage, asyncio.get_running_loop().time()
        page.offered = True
        start = await self._store.create(
            page.live.id,
            page.head(),
            epochs_of(feed),
            once=page.once,
            fence=page.fence,
            first=feed.durable + 1,
            anew=page.anew,
        )
        page.once = None  # another process may have begun the same meanwhile: then there are two
        if start.fenced:
            self._on_fenced(page)
        elif start.stream == page.live.id:
            page.is_registered(lineage, asked_s)
