"""A deadline that a late event loop does not shorten.

Decides when waiting ends. A plain timeout that comes due while the loop was held up fires before the loop has read
what arrived in the meantime, and calls a server slow that answered in time. This one looks once more: when the
deadline comes due, the loop gets one more short turn to deliver what is already there.
"""

import asyncio
from types import TracebackType
from typing import Final

SECOND_LOOK_S: Final = 0.005


class patience:  # noqa: N801 - it is called like `asyncio.timeout`
    """Raise `TimeoutError` if the body takes longer than `deadline_s` seconds (and one turn of the loop)."""

    __slots__ = ("_deadline_s", "_loop", "_scope", "_timer")

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)
        await self._scope.__aenter__()
        self._timer = self._loop.call_later(self._deadline_s, self._due)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._scope.__aexit__(kind, error, trace)

    def _due(self) -> None:
        self._scope.reschedule(self._loop.time() + SECOND_LOOK_S)
