"""Who may ask PostgreSQL much at once: few, so that others who need it for less come sooner.

Decides how many such questions are asked at once, and how long one waits for its turn.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from citadel_edge.errors import Code, RequestError

AT_ONCE: Final = 2
WAIT_S: Final = 5.0


class Turns:
    """Turns of those who ask."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a turn during the body. `RequestError` (overloaded): none came within 5 s."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise RequestError(
                Code.OVERLOADED, "Many ask for usage at the moment. Try again soon.", retry_after_s=WAIT_S
            ) from None
        try:
            yield
        finally:
            self._turns.release()
