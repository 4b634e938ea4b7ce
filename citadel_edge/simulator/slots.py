"""How many requests run at once, and how many may wait: first come, first served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class QueueFull(Exception):
    """No slot is free and the queue is at its limit."""


class Slots:
    """Seats with a queue; `queue_limit` None is a queue without end."""

    def __init__(self, *, capacity: int, queue_limit: int | None) -> None:
        self.capacity = capacity
        self.queue_limit = queue_limit
        self.running = 0
        self.waiting = 0
        self._seats = asyncio.Semaphore(capacity)

    def check(self) -> None:
        """Refuse now what `seat` could only let wait past the limit.

        Raises:
            QueueFull: at the limit.
        """
        if self.queue_limit is not None and self._seats.locked() and self.waiting >= self.queue_limit:
            raise QueueFull

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        self.waiting += 1
        try:
            await self._seats.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._seats.release()
