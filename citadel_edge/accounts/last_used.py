"""When keys were last used, written down in batches behind the requests.

Decides how exact that is: a use is on record within `PERIOD_S`, and the last moments before a crash may be missing.
"""

import asyncio
from typing import Final

import asyncpg
from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import PostgresUnavailable
from citadel_edge.storage.postgres import PostgresPool

PERIOD_S: Final = 5.0
MOST: Final = 50_000
_WRITE: Final = """
UPDATE api_keys SET last_used_at = greatest(last_used_at, to_timestamp(used.unix_s))
FROM unnest($1::text[], $2::double precision[]) AS used(id, unix_s)
WHERE api_keys.id = used.id"""


class LastUsed:
    """The uses since the last batch, by key."""

    def __init__(self, postgres: PostgresPool, *, log: FilteringBoundLogger) -> None:
        self._postgres = postgres
        self._log = log
        self._uses: dict[str, float] = {}

    def note(self, key_id: str, unix_s: float) -> None:
        """This key was used now."""
        self._uses[key_id] = unix_s

    async def run(self) -> None:
        """Write every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            await self.write()

    async def write(self) -> None:
        """Write what was noted; while PostgreSQL is away it is kept, up to `MOST` keys."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._postgres.execute(_WRITE, *zip(*sorted(uses.items()), strict=True))
        except PostgresUnavailable:
            if len(uses) <= MOST:
                self._uses = {**uses, **self._uses}
        except asyncpg.PostgresError as error:
            self._log.warning("uses of keys could not be written down", error=str(error), keys=len(uses))
