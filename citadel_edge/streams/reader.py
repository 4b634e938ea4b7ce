"""One reader of a stream: a number, and where to look next.

Decides what a reader gets: everything that is there in one batch, from memory if it keeps up and else from the log, and
whenever events are missing between two batches, which. A reader that takes nothing costs nothing. Refuses to know how a
batch looks on the wire.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

from citadel_edge.streams.feed import Feed
from citadel_edge.streams.values import Batch

MOST_BYTES: Final = 256 * 2**10
"""Of one batch, unless a single event is larger."""


class Older(Struct, frozen=True):
    """Events of the log from `first` on. `floor` is the first event that the log has."""

    first: int
    payloads: list[bytes]
    floor: int


Fetch = Callable[[int], Awaitable[Older]]
"""Asks the log for the events from a number on. Raises `RequestError` when it cannot be asked for too long."""


async def nothing_older(first: int) -> Older:
    """What a log that does not exist has."""
    return Older(first, [], first)


class Reader:
    """Reads one stream, for one task at a time. An async iterator of batches, and a context manager.

    `next` may be cancelled at any time (`asyncio.timeout` around it, for a heartbeat): nothing is lost by it. `close`
    it: the stream's life may hang on whether anybody reads. Where a task's waking for each token costs too much, see
    `offer_to`.

    Attributes:
        after: the number of the last event that was read.
    """

    __slots__ = ("_feed", "_fetch", "_lost", "_open", "_over", "_rewinds", "_take", "after")

    def __init__(self, feed: Feed, fetch: Fetch, *, after: int, lost: tuple[int, int] | None = None) -> None:
        self.after = after
        self._feed = feed
        self._fetch = fetch
        self._lost = lost
        self._rewinds = len(feed.rewinds)
        self._over = False
        self._open = True
        self._take: Callable[[Batch], bool] | None = None
        feed.enter()

    def offer_to(self, take: Callable[[Batch], bool]) -> None:
        """Offer the events that come while `next` waits to `take` first, in the turn in which they may be read.

        What it takes `next` does not return. It is asked for events alone: an end, a loss or older events are for
        `next`. It raises nothing.
        """
        self._take = take

    async def next(self) -> Batch:
        """All there is now; waits while there is nothing.

        Raises:
            StopAsyncIteration: the batch before was the last.
            RequestError: the log has what comes next, and was away for too long. Come back with the cursor.
        """
        feed = self._feed
        while not self._over:
            self._note_rewinds()
            if feed.first <= self.after + 1:
                batch = self._from_memory()
                if batch is not None:
                    return batch
                if feed.failure is not None:
                    raise feed.failure()
                await feed.changed(None if self._take is None else self._offer)
            elif self.after + 1 < feed.floor:
                self._miss(self.after + 1, feed.floor - 1)
                self.after = feed.floor - 1
            elif (batch := self._of(await self._fetch(self.after + 1))) is not None:
                return batch
        raise StopAsyncIteration

    def __aiter__(self) -> "Reader":
        return self

    async def __anext__(self) -> Batch:
        return await self.next()

    def close(self) -> None:
        """Read no more. A second time does nothing."""
        if self._open:
            self._open, self._over = False, True
            self._feed.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _offer(self) -> bool:
        """Whether there is nothing for `next` to do: nothing is new, or somebody has taken it."""
        feed = self._feed
        if feed.terminal is not None or feed.moved or feed.failure is not None or self._lost is not None:
            return False
        if self._take is None or self._rewinds != len(feed.rewinds) or feed.first > self.after + 1:
            return False
        while (batch := self._from_memory()) is not None:
            if not self._take(batch):
                self.after = batch.first - 1
                return False
        return True

    def _from_memory(self) -> Batch | None:
        feed = self._feed
        durable = self.after < feed.durable
        upto = min(feed.visible, feed.durable) if durable else feed.visible
        if self.after < upto:
            return self._batch(feed.between(self.after + 1, upto, MOST_BYTES), durable=durable)
        if feed.terminal is not None or feed.moved or self._lost is not None:
            return self._batch([], durable=feed.visible <= feed.durable)
        return None

    def _of(self, older: Older) -> Batch | None:
        """What the log answered, unless memory was found to be wrong meanwhile."""
        if self._rewinds != len(self._feed.rewinds):
            return None
        wanted = self.after + 1
        first = older.first if older.payloads else max(older.floor, wanted)
        if not older.payloads and first == wanted:
            first = max(self._feed.first, wanted)  # the log has lost it
        if first > wanted:
            self._miss(wanted, first - 1)
            self.after = first - 1
        return self._batch(older.payloads, durable=True) if older.payloads else None

    def _note_rewinds(self) -> None:
        rewinds = self._feed.rewinds
        if self._rewinds == len(rewinds):
            return
        right = min(rewinds[self._rewinds :])
        self._rewinds = len(rewinds)
        if self.after > right:
            self._miss(right + 1, self.after)
            self.after = right

    def _miss(self, first: int, last: int) -> None:
        known = self._lost or (first, last)
        self._lost = min(known[0], first), max(known[1], last)

    def _batch(self, payloads: list[bytes], *, durable: bool) -> Batch:
        feed, first, lost = self._feed, self.after + 1, self._lost
        came_s = feed.came_s(first) if payloads else None
        self.after += len(payloads)
        self._lost = None
        all_read = self.after >= feed.visible
        terminal, moved = feed.terminal if all_read else None, feed.moved and all_read
        self._over = moved or terminal is not None
        return Batch(
            first=first,
            payloads=payloads,
            epoch=feed.epoch if durable else feed.provisional or feed.epoch,
            durable=durable,
            terminal=terminal,
            lost=lost,
            came_s=came_s,
            moved=moved,
        )
