"""The worker that takes rows from the queue into the rollups, and builds those of new time zones.

Decides when: as soon as a thousand rows wait, or one for 5 s, and during a backlog without a pause. Any number of
instances may run it; each fold is one transaction under one lock, so that whoever dies in it leaves nothing behind, and
another goes on. Refuses to know what is summed: that is `folding`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import islice
from typing import Any, Final

import asyncpg
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.analytics import folding
from citadel_edge.accounts.analytics.buckets import Bucket, starting, starts_before
from citadel_edge.accounts.analytics.columns import TABLES
from citadel_edge.accounts.analytics.dimensions import GRAINS, KEYED, Grain
from citadel_edge.accounts.analytics.folding import Blocks
from citadel_edge.accounts.analytics.metrics import RollupMetrics
from citadel_edge.accounts.analytics.pieces import BUCKETS, WEEKS_OF, Unit
from citadel_edge.accounts.zones import Zones
from citadel_edge.errors import PostgresUnavailable
from citadel_edge.storage.backoff import Backoff
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock

LOCK: Final = 0x0C17ADE4
MOST_CALENDARS: Final = 4
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
_DAY: Final = timedelta(days=1)
_MOMENT: Final = timedelta(microseconds=1)
WEEKS_AT_ONCE: Final = timedelta(weeks=4)
_NO_WEEKS: Final = f"zone NOT LIKE '{WEEKS_OF}%'"
_WANTED: Final = """
SELECT time_zone FROM organisations WHERE time_zone NOT IN (SELECT zone FROM usage_calendars)
GROUP BY time_zone ORDER BY count(*) DESC, time_zone LIMIT $1
"""
_ZONES_KEPT: Final = f"SELECT count(*) FROM usage_calendars WHERE {_NO_WEEKS}"  # noqa: S608 - ours
_ADD_WEEKS: Final = f"""
INSERT INTO usage_calendars (zone) SELECT '{WEEKS_OF}' || days.zone FROM usage_calendars AS days
WHERE days.complete AND days.{_NO_WEEKS}
    AND NOT EXISTS (SELECT FROM usage_calendars AS weeks WHERE weeks.zone = '{WEEKS_OF}' || days.zone)
ORDER BY days.id
"""  # noqa: S608 - ours
_DAYS: Final = """
SELECT max(start) FILTER (WHERE $3::timestamptz IS NULL OR start < $3) AS newest, min(start) AS oldest
FROM usage_rollups WHERE series = $1 AND calendar = $2
"""
_ANY_DAYS: Final = Unit.DAY.series_of(GRAINS[0])
_WEEKS_BUILT: Final = "UPDATE usage_calendars SET since = $2, until = $3, complete = $4 WHERE id = $1"
_CALENDARS: Final = "SELECT id, zone, since, until, complete FROM usage_calendars ORDER BY id"
_ENDS: Final = f"""
SELECT max(created_at) FILTER (WHERE $1::timestamptz IS NULL OR created_at < $1) AS newest, min(created_at) AS oldest
FROM usage_events AS row WHERE row.{folding.COUNTABLE}
"""  # noqa: S608 - ours


class UnknownZoneError(LookupError):
    """Usage is kept in a time zone that this machine does not know: it cannot take part."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """A time zone whose days and months, or whose weeks are kept: all of them, or those from `since` on.

    Weeks are made of days when they are over: those that begin before `until` are there.
    """

    id: int
    zone: tzinfo
    since: datetime | None
    until: datetime | None
    complete: bool
    weeks: bool

    def is_whole(self, now: datetime) -> bool:
        """Whether there is nothing to build."""
        return self.complete and not (self.weeks and (self.until is None or self.until < self.week_of(now)))

    def week_of(self, at: datetime) -> datetime:
        """When the week of this time begins."""
        return next(starting(at, Bucket.WEEK, self.zone))

    def blocks(self, days: Sequence[datetime]) -> Blocks:
        """Its blocks that rows of these days of UTC may lie in."""
        units = (Unit.WEEK,) if self.weeks else (Unit.DAY, Unit.MONTH)
        kept = {unit: self._kept(days, BUCKETS[unit]) for unit in units}
        return Blocks(self.id, {unit: self.bounds(starts, unit) for unit, starts in kept.items() if starts})

    def bounds(self, starts: Sequence[datetime], unit: Unit) -> list[datetime]:
        """These and where the last ends."""
        return [*starts, *islice(starting(starts[-1], BUCKETS[unit], self.zone), 1, 2)]

    def _kept(self, days: Sequence[datetime], bucket: Bucket) -> list[datetime]:
        found = {start for day in days for start in starts_before(day + _DAY, day, bucket, self.zone)}
        return sorted(start for start in found if self._has(start))

    def _has(self, start: datetime) -> bool:
        if self.weeks and (self.until is None or start >= self.until):
            return False
        return self.complete or (self.since is not None and start >= self.since)


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
        self._zones = zones
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
            await self._add_calendars(connection)
            calendars = await self._calendars(connection)
            now = self._clock.now()
            partial = next((calendar for calendar in calendars if not calendar.is_whole(now)), None)
            if partial is None:
                return False
            if partial.weeks:
                days = next(each for each in calendars if each.zone == partial.zone and not each.weeks)
                await self._build_weeks(connection, partial, days, partial.week_of(now))
            else:
                await self._build_month(connection, partial)
            return True

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
        found = [calendar.blocks(days) for calendar in await self._calendars(connection)]
        bounds = [bounds for each in found for bounds in each.bounds.values()]
        await connection.execute(folding.fold(found), ids, *bounds)
        await connection.execute(folding.TAKEN, ids)

    async def _calendars(self, connection: Any) -> list[Calendar]:
        return [await self._calendar(row) for row in await connection.fetch(_CALENDARS)]

    async def _calendar(self, row: Any) -> Calendar:
        name: str = row["zone"]
        zone = await self._zone(name.removeprefix(WEEKS_OF))
        weeks = name.startswith(WEEKS_OF)
        return Calendar(row["id"], zone, row["since"], row["until"], row["complete"], weeks=weeks)

    async def _zone(self, name: str) -> tzinfo:
        zone = await self._zones.of(name)
        if str(zone) != name:
            raise UnknownZoneError(f"usage is kept in the time zone {name}, which this machine does not know")
        return zone

    async def _add_calendars(self, connection: Any) -> None:
        await connection.execute(_ADD_WEEKS)
        room = MOST_CALENDARS - await connection.fetchval(_ZONES_KEPT)
        for row in await connection.fetch(_WANTED, max(0, room)):
            if str(await self._zones.of(row["time_zone"])) == row["time_zone"]:
                await connection.execute("INSERT INTO usage_calendars (zone) VALUES ($1)", row["time_zone"])
                self._log.info("usage is kept in a further time zone", time_zone=row["time_zone"])

    async def _build_month(self, connection: Any, calendar: Calendar) -> None:
        """The newest month that has rows and is not there yet; without one the calendar is complete."""
        newest, oldest = await connection.fetchrow(_ENDS, calendar.since)
        if newest is None:
            await connection.execute("UPDATE usage_calendars SET complete = true WHERE id = $1", calendar.id)
            return
        since = next(starting(newest, Bucket.MONTH, calendar.zone))
        days = starts_before(calendar.since or newest + _DAY, since, Bucket.DAY, calendar.zone)
        bounds = {unit: calendar.bounds(starts, unit) for unit, starts in ((Unit.DAY, days), (Unit.MONTH, [since]))}
        statement = folding.build(Blocks(calendar.id, bounds))
        await connection.execute(statement, since, calendar.since, *bounds.values())
        await connection.execute(
            "UPDATE usage_calendars SET since = $2, complete = $3 WHERE id = $1", calendar.id, since, oldest >= since
        )

    async def _build_weeks(self, connection: Any, calendar: Calendar, days: Calendar, present: datetime) -> None:
        """Some weeks before the present one, from its days: the next that are over, or the newest of the past."""
        if calendar.until is None:
            await connection.execute(_WEEKS_BUILT, calendar.id, present, present, False)
        elif calendar.until < present:
            weeks = starts_before(
                min(present, calendar.until + WEEKS_AT_ONCE), calendar.until, Bucket.WEEK, calendar.zone
            )
            until = await self._sum_weeks(connection, calendar, days, weeks)
            await connection.execute(_WEEKS_BUILT, calendar.id, calendar.since, until, calendar.complete)
        else:
            newest, oldest = await connection.fetchrow(_DAYS, _ANY_DAYS, days.id, calendar.since)
            since = calendar.since
            if newest is not None:
                weeks = starts_before(newest + _MOMENT, newest - WEEKS_AT_ONCE, Bucket.WEEK, calendar.zone)
                await self._sum_weeks(connection, calendar, days, weeks)
                since = weeks[0]
            complete = newest is None or oldest >= since
            await connection.execute(_WEEKS_BUILT, calendar.id, since, calendar.until, complete)

    async def _sum_weeks(
        self, connection: Any, calendar: Calendar, days: Calendar, weeks: Sequence[datetime]
    ) -> datetime:
        """Answers when the last of them ends."""
        bounds = calendar.bounds(weeks, Unit.WEEK)
        for table in TABLES:
            await connection.execute(folding.build_weeks(table), calendar.id, days.id, bounds)
        return bounds[-1]

    def _report(self, error: Exception, *, first: bool) -> None:
        self._metrics.failures.inc()
        if first:
            words = str(error) if isinstance(error, PostgresUnavailable | UnknownZoneError) else type(error).__name__
            self._log.warning("usage is not rolled up: questions read more of the ledger", reason=words)


def _keys(grain: Grain, unknown: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    return sorted({tuple(row[name] if name in grain.dimensions else "" for name in KEYED) for row in unknown})
