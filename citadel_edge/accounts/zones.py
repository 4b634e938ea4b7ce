"""Time zones by name, each read from this machine's files once, in a thread.

Decides that an organisation whose zone this machine does not know counts in UTC: its users are not locked out.
"""

import asyncio
from datetime import UTC, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from structlog.typing import FilteringBoundLogger

MOST: Final = 1000
"""There are about 600 names."""


class Zones:
    """What was read so far, bounded."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._known: dict[str, tzinfo] = {"UTC": UTC}

    async def of(self, name: str) -> tzinfo:
        """The zone of this name. Suspends at most once a name."""
        known = self._known.get(name)
        return await self._read(name) if known is None else known

    async def _read(self, name: str) -> tzinfo:
        try:
            zone: tzinfo = await asyncio.to_thread(ZoneInfo, name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self._log.warning("this machine does not know a time zone: quotas of it count in UTC", time_zone=name)
            zone = UTC
        if len(self._known) < MOST:
            self._known[name] = zone
        return zone
