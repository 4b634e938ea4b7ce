"""What every pool does behind its callers: tasks it owns, and pauses between attempts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def owned_tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A `TaskGroup` whose single failure is raised as itself, so that a pool around a program changes no error."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        if len(failures.exceptions) == 1:
            raise failures.exceptions[0] from None
        raise


class Backoff:
    """Pauses that double up to a bound, and start anew after a success."""

    def __init__(self, first_s: float, last_s: float) -> None:
        self._first_s, self._last_s = first_s, last_s
        self._next_s = first_s

    def reset(self) -> None:
        """An attempt succeeded: the next pause is the first one again."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """How long to wait before the next attempt, in seconds."""
        pause, self._next_s = self._next_s, min(self._next_s * 2, self._last_s)
        return pause
