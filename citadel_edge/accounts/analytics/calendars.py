"""The time zones whose days, months and weeks are kept, and how those of the past are built.

Decides which zones: UTC and the commonest of organisations. Days and months of a new zone are built from the ledger, a
month at a time; weeks from days, some at a time and when they are over, as all zones' weeks together cost a fold a
third of its speed. Refuses to know who alone may do so: the caller has the lock, and a transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import islice
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.analytics import folding
from citadel_edge.accounts.analytics.buckets import Bucket, starting, starts_before
from citadel_edge.accounts.analytics.columns import TABLES
from citadel_edge.accounts.analytics.dimensions import GRAINS
from citadel_edge.accounts.analytics.folding import Blocks
from citadel_edge.accounts.analytics.pieces import BUCKETS, WEEKS_OF, Unit
from citadel_edge.accounts.zones import Zones

MOST_CALENDARS: Final = 4
"""Of days and months; weeks are kept of the same zones."""
WEEKS_AT_ONCE: Final = timedelta(weeks=4)
_DAY: Final = timedelta(days=1)
_MOMENT: Final = timedelta(microseconds=1)
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


class Calendars:
    """Those of one database."""

    def __init__(self, zones: Zones, log: FilteringBoundLogger) -> None:
        self._zones = zones
        self._log = log

    async def build(self, connection: Any, now: datetime) -> bool:
        """Give one calendar some more of the past, or a new time zone a calendar; False if there is nothing to do."""
        await self._add(connection)
        calendars = await self.kept(connection)
        partial = next((calendar for calendar in calendars if not calendar.is_whole(now)), None)
        if partial is None:
            return False
        if partial.weeks:
            days = next(each for each in calendars if each.zone == partial.zone and not each.weeks)
            await _build_weeks(connection, partial, days, partial.week_of(now))
        else:
            await _build_month(connection, partial)
        return True

    async def kept(self, connection: Any) -> list[Calendar]:
        """All. Raises UnknownZoneError: this machine cannot count in one of them."""
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

    async def _add(self, connection: Any) -> None:
        await connection.execute(_ADD_WEEKS)
        room = MOST_CALENDARS - await connection.fetchval(_ZONES_KEPT)
        for row in await connection.fetch(_WANTED, max(0, room)):
            if str(await self._zones.of(row["time_zone"])) == row["time_zone"]:
                await connection.execute("INSERT INTO usage_calendars (zone) VALUES ($1)", row["time_zone"])
                self._log.info("usage is kept in a further time zone", time_zone=row["time_zone"])


async def _build_month(connection: Any, calendar: Calendar) -> None:
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


async def _build_weeks(connection: Any, calendar: Calendar, days: Calendar, present: datetime) -> None:
    """Some weeks before the present one, from its days: the next that are over, or the newest of the past."""
    if calendar.until is None:
        await connection.execute(_WEEKS_BUILT, calendar.id, present, present, False)
    elif calendar.until < present:
        weeks = starts_before(min(present, calendar.until + WEEKS_AT_ONCE), calendar.until, Bucket.WEEK, calendar.zone)
        until = await _sum_weeks(connection, calendar, days, weeks)
        await connection.execute(_WEEKS_BUILT, calendar.id, calendar.since, until, calendar.complete)
    else:
        newest, oldest = await connection.fetchrow(_DAYS, _ANY_DAYS, days.id, calendar.since)
        since = calendar.since
        if newest is not None:
            weeks = starts_before(newest + _MOMENT, newest - WEEKS_AT_ONCE, Bucket.WEEK, calendar.zone)
            await _sum_weeks(connection, calendar, days, weeks)
            since = weeks[0]
        complete = newest is None or oldest >= since
        await connection.execute(_WEEKS_BUILT, calendar.id, since, calendar.until, complete)


async def _sum_weeks(connection: Any, calendar: Calendar, days: Calendar, weeks: Sequence[datetime]) -> datetime:
    """Answers when the last of them ends."""
    bounds = calendar.bounds(weeks, Unit.WEEK)
    for table in TABLES:
        await connection.execute(folding.build_weeks(table), calendar.id, days.id, bounds)
    return bounds[-1]
