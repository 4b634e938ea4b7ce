"""One reader's place in what the hub keeps: a few numbers, whatever it has yet to read.

Decides what comes next and in what order, and what a slow reader has missed. It holds no message of its own, so a
reader that does not read costs nothing but its place; when its place is gone from what is kept, it is told how many it
missed before it goes on. METRICS come as often as the reader asked, the latest only.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from citadel_edge.telemetry.hub_log import Log, Message, Past, Topic

_MOST_AT_ONCE: Final = 256


class Lost(Struct, frozen=True):
    """So many messages are missing here, because the reader was slow."""

    count: int


class Batch(Struct, frozen=True, kw_only=True):
    """What can be read at once; nothing: there will be no more.

    Attributes:
        messages: in the order they were published. The latest METRICS, if it is due, stands at the end.
        lost: how many are missing before these.
        after: the reader had what there was up to this seq. through: having read this, up to that one.
    """

    messages: tuple[Message, ...]
    lost: int
    after: int
    through: int

    def __bool__(self) -> bool:
        return bool(self.messages) or bool(self.lost)


class Subscription:
    """A reader of some topics, for one task of the hub's loop: an async iterator of messages, or batch by batch.

    Args:
        start: where it begins in each topic's count. after: and in all of them together.
        metrics_every_s: how often it wants METRICS.
        on_lost: told how many messages it missed.
    """

    __slots__ = (
        "_closed",
        "_due_s",
        "_every_s",
        "_log",
        "_metrics",
        "_on_lost",
        "_read",
        "_ready",
        "_through",
        "_waiter",
    )

    def __init__(
        self,
        log: Log,
        start: dict[Topic, int],
        *,
        after: int,
        metrics_every_s: float,
        on_lost: Callable[[int], None],
    ) -> None:
        self._log = log
        self._metrics = start.pop(Topic.METRICS, None)
        self._read = start
        self._through = after
        self._every_s = metrics_every_s
        self._due_s = 0.0
        self._on_lost = on_lost
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._ready: deque[Message | Lost] | None = None

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Message | Lost:
        if not self._ready:
            batch = await self.batch()
            if not batch:
                raise StopAsyncIteration
            self._ready = deque(batch.messages)
            if batch.lost:
                self._ready.appendleft(Lost(batch.lost))
        return self._ready.popleft()

    async def batch(self) -> Batch:
        """All that can be read now, at most 256 messages; waits until there is some, or no more will come."""
        while not (batch := self.take()) and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return batch

    def take(self) -> Batch:
        """All that can be read now, perhaps nothing."""
        if self._through == self._log.seq and self._metrics is None:
            return Batch(messages=(), lost=0, after=self._through, through=self._through)
        found: list[Message] = []
        lost = 0
        for topic, read in self._read.items():
            past = self._log.pasts[topic]
            if read < past.count:
                lost += self._skip(topic, past, read)
                found.extend(past.beyond(read))
        found.sort(key=_seq)
        whole = len(found) <= _MOST_AT_ONCE
        del found[_MOST_AT_ONCE:]
        for message in found:
            self._read[message.topic] = message.nth
        after, self._through = self._through, self._log.seq if whole else found[-1].seq
        if whole and (latest := self._metrics_due()) is not None:
            found.append(latest)
        return Batch(messages=tuple(found), lost=lost, after=after, through=self._through)

    def wake(self) -> None:
        """There may be something to read. The hub calls this."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def offer_metrics(self, message: Message) -> None:
        """The latest METRICS; wakes the reader if it wants them by now. The hub calls this."""
        if self._wants(message):
            self.wake()

    def close(self) -> None:
        """No more will come: what is there is still read, then the iteration ends."""
        self._closed = True
        self.wake()

    def _skip(self, topic: Topic, past: Past, read: int) -> int:
        lost = past.gone - read
        if lost <= 0:
            return 0
        self._read[topic] = past.gone
        self._on_lost(lost)
        return lost

    def _metrics_due(self) -> Message | None:
        if self._metrics is None:
            return None
        latest = self._log.pasts[Topic.METRICS].latest
        if latest is None or latest.nth == self._metrics or not self._wants(latest):
            return None
        self._metrics = latest.nth
        due_s = self._due_s + self._every_s
        self._due_s = due_s if due_s > latest.at_s else latest.at_s + self._every_s
        return latest

    def _wants(self, message: Message) -> bool:
        """By when it was published: of those that come at the hub's pace, the one nearest to the time asked for."""
        return message.at_s >= self._due_s - self._log.pace_s / 2


def _seq(message: Message) -> int:
    return message.seq
