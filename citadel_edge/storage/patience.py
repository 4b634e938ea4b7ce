"""A deadline that a late event loop does not shorten.

Decides when waiting ends. A plain timeout that comes due while the loop was held up fires before the loop has read
what arrived in the meantime, and calls a server slow that answered in time. This one looks once more: when the
deadline comes due, the loop gets one more short turn to deliver what is already there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

SECOND_LOOK_S: Final = 0.005


@asynccontextmanager
async def patience(deadline_s: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` if the body takes longer than `deadline_s` seconds (and one turn of the loop)."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        timer = loop.call_later(deadline_s, lambda: scope.reschedule(loop.time() + SECOND_LOOK_S))
        try:
            yield
        finally:
            timer.cancel()
