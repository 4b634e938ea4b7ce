"""The worker that takes rows from the queue into the rollups, and builds those of new time zones.

Decides when: as soon as a thousand rows wait, or one for 5 s, and during a backlog without a pause. Any number of
instances may run it; each fold is one transaction under one lock, so that whoever dies in it leaves nothing behind, and
another goes on. Refuses to know what is summed (`folding`) and for which time zones (`calendars`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.analytics import folding
from citadel_edge.accounts.analytics.calendars import Calendars, UnknownZoneError
from citadel_edge.accounts.analytics.dimensions import KEYED, Grain
from citadel_edge.accounts.analytics.metrics import RollupMetrics
from citadel_edge.accounts.zones import Zones
from citadel_edge.errors import PostgresUnavailable
from citadel_edge.storage.backoff import Backoff
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock

LOCK: Final = 0x0C17ADE4
AT_ONCE: Final = 10_000
"""So many rows in one transaction, or those of one queue entry."""
KEYS_AT_ONCE: Final = 500
ENOUGH_ROWS: Final = 1000
SOON_S: Final = 5.0
LOOK_EVERY_S: Final = 1.0
BUILD_EVERY_S: Final = 60.0
FIRST_PAUSE_S: Final = 0.5
LAST_PAUSE_S: Final = 10.0
FOLD_WITHIN_S: Final = 60.0
BUILD_WITHIN_S: Final = 900.0


class Rollups:
    """The rollups of one database. `run` is the worker; `fold` and `build` are its steps."""

    def __init__(
        self,
        postgres: PostgresPool,
        *,
        zones: Zones,
        clock: Clock,
        log: FilteringBoundLogger,
        registry: CollectorRegistry,
    ) -> None:
        self._postgres = postgres
        self._calendars = Calendars(zones, log)
        self._clock = clock
        self._log = log
        self._metrics = RollupMetrics(registry)
        self._built_at_s: float | None = None

    async def run(self) -> None:
        """Fold and build, for ever. One task of whoever owns the workers."""
        pauses, troubled = Backoff(FIRST_PAUSE_S, LAST_PAUSE_S), False
        while True:
            try:
                more = await self._turn()
            except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):  # the migrations are still to run
                more = False
            except (PostgresUnavailable, asyncpg.PostgresError, UnknownZoneError) as error:
                self._report(error, first=not troubled)
                troubled = True
                await asyncio.sleep(pauses.next_s())
                continue
            pauses.reset()
            troubled = False
            if not more:
                await asyncio.sleep(LOOK_EVERY_S)

    async def fold(self) -> int | None:
        """Take some rows from the queue into the sums; answers how many. None: somebody else does.

        Raises:
            PostgresUnavailable, asyncpg.PostgresError: not now; nothing was changed, or all of it.
            UnknownZoneError: this machine cannot.
        """
        async with self._locked(FOLD_WITHIN_S) as connection:
            if connection is None:
                return None
            entries = await connection.fetch(folding.NEXT, AT_ONCE)
            ids = [entry["id"] for entry in entries]
            if ids:
                await self._fold(connection, ids)
        rows: int = sum(entry["size"] for entry in entries)
        self._metrics.rolled.inc(rows)
        return rows

    async def build(self) -> bool:
        """Give one calendar some more of the past, or a new time zone a calendar; False if there is nothing to do.

        Raises:
            As `fold`.
        """
        async with self._locked(BUILD_WITHIN_S) as connection:
            if connection is None:
                return False
            return await self._calendars.build(connection, self._clock.now())

    async def _turn(self) -> bool:
        """Look what waits, and do some of it; whether there is more."""
        waiting = await self._postgres.fetchrow(folding.WAITING)
        self._metrics.waiting(waiting["rows"], waiting["oldest_s"])
        now_s = self._clock.monotonic_s()
        if self._built_at_s is None or now_s - self._built_at_s >= BUILD_EVERY_S:
            if await self.build():
                return True
            self._built_at_s = now_s
        if not waiting["rows"] or (waiting["rows"] < ENOUGH_ROWS and waiting["oldest_s"] < SOON_S):
            return False
        with self._metrics.seconds.time():
            folded = await self.fold()
        return bool(folded) and waiting["rows"] > AT_ONCE

    @asynccontextmanager
    async def _locked(self, within_s: float) -> AsyncIterator[Any]:
        """A transaction that alone may change rollups; None while another does. The lock goes after the commit."""
        async with self._postgres.transaction(timeout_s=within_s) as connection:
            await connection.execute(folding.SETTINGS)
            yield connection if await connection.fetchval(folding.LOCKED, LOCK) else None

    async def _fold(self, connection: Any, ids: list[int]) -> None:
        unknown = await connection.fetch(folding.UNKNOWN, ids)
        if unknown:
            for grain, statement in folding.ADD_KEYS:
                keys = await asyncio.to_thread(_keys, grain, unknown)
                for first in range(0, len(keys), KEYS_AT_ONCE):
                    await connection.executemany(statement, keys[first : first + KEYS_AT_ONCE])
        days = [row["day"] for row in await connection.fetch(folding.DAYS, ids)]
        found = [calendar.blocks(days) for calendar in await self._calendars.kept(connection)]
        bounds = [bounds for each in found for bounds in each.bounds.values()]
        await connection.execute(folding.fold(found), ids, *bounds)
        await connection.execute(folding.TAKEN, ids)

    def _report(self, error: Exception, *, first: bool) -> None:
        self._metrics.failures.inc()
        if first:
            words = str(error) if isinstance(error, PostgresUnavailable | UnknownZoneError) else type(error).__name__
            self._log.warning("usage is not rolled up: questions read more of the ledger", reason=words)


def _keys(grain: Grain, unknown: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    return sorted({tuple(row[name] if name in grain.dimensions else "" for name in KEYED) for row in unknown})
