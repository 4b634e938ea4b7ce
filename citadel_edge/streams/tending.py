"""Once a second, for each slot: the leases of what is produced here are renewed, and streams without a producer taken.

Decides how often, and how many are taken at once. Refuses to know what is done with them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from citadel_edge.errors import RedisUnavailable
from citadel_edge.streams.commit import Commits
from citadel_edge.streams.messages import Taken
from citadel_edge.streams.names import SLOTS
from citadel_edge.streams.page import Page
from citadel_edge.streams.store import Store

MOST_TAKEN: Final = 16
"""Of each slot, which may hold all that a process began within a minute."""


class Tending:
    """The round of all slots.

    Args:
        every_s: between two rounds.
        takes: whether streams are taken at all.
        on_taken: told of each.
    """

    def __init__(
        self,
        store: Store,
        commits: Commits,
        *,
        every_s: float,
        takes: Callable[[], bool],
        on_taken: Callable[[Taken], None],
    ) -> None:
        self._store = store
        self._commits = commits
        self._every_s = every_s
        self._takes = takes
        self._on_taken = on_taken
        commits.ask = self.ask

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(self._every_s)

    async def once(self) -> None:
        """One round. Its questions travel together."""
        own: list[list[Page]] = [[] for _ in range(SLOTS)]
        for page in self._commits.pages.values():
            if page.registered and not page.ended:
                own[page.slot].append(page)
        most = MOST_TAKEN if self._takes() else 0
        rounds = (self._tend(slot, pages, most) for slot, pages in enumerate(own))
        for failure in await asyncio.gather(*rounds, return_exceptions=True):
            if failure is not None and not isinstance(failure, RedisUnavailable):
                raise failure

    async def ask(self, page: Page) -> None:
        """Renew one stream's lease. Raises `RedisUnavailable`."""
        await self._tend(page.slot, [page], 0)

    async def _tend(self, slot: int, pages: Sequence[Page], most: int) -> None:
        asked_s = asyncio.get_running_loop().time()
        had = [page.live.feed.durable for page in pages]
        heard, taken = await self._store.tend(slot, [(page.live.id, page.fence) for page in pages], most=most)
        for page, durable, each in zip(pages, had, heard, strict=True):
            self._commits.hear(page, each, durable=durable, asked_s=asked_s)
        for one in taken:
            self._on_taken(one)
