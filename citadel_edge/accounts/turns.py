"""Who may ask PostgreSQL much at once: few, so that others who need it for less come sooner.

Decides how many such questions are asked at once, that one user has one turn at a time, so that whoever asks a hundred
questions keeps nobody else from theirs, and how long one waits for a turn.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from citadel_edge.errors import Code, RequestError

AT_ONCE: Final = 2
WAIT_S: Final = 5.0


class _Own:
    """One user's turn, while somebody wants it."""

    __slots__ = ("lock", "wanted")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0


class Turns:
    """Turns of those who ask."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._own: dict[str, _Own] = {}

    @asynccontextmanager
    async def turn(self, user_id: str) -> AsyncIterator[None]:
        """Hold a turn during the body. `RequestError` (overloaded): none came within 5 s."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(WAIT_S):
                    await held.enter_async_context(self._one_of(user_id))
                    await held.enter_async_context(self._turns)
            except TimeoutError:
                raise RequestError(
                    Code.OVERLOADED, "Many ask for usage at the moment. Try again soon.", retry_after_s=WAIT_S
                ) from None
            yield

    @asynccontextmanager
    async def _one_of(self, user_id: str) -> AsyncIterator[None]:
        own = self._own.setdefault(user_id, _Own())
        own.wanted += 1
        try:
            async with own.lock:
                yield
        finally:
            own.wanted -= 1
            if not own.wanted:
                del self._own[user_id]
