"""Buckets of time as the blocks that sums are kept of. Pure.

Decides which blocks make up a bucket: the longest that fit, shorter ones at its ends, and what is left of it, shorter
than any block, is read from the ledger itself. So every bucket of every time zone is exact, wherever its ends lie.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum
from itertools import dropwhile, pairwise, takewhile
from typing import Final, NamedTuple

from citadel_edge.accounts.analytics.buckets import Bucket, starting
from citadel_edge.accounts.analytics.dimensions import Grain
from citadel_edge.accounts.days import Span

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
HOURS_CALENDAR: Final = 0
"""Hours are those of UTC, whatever the zone."""
WEEKS_OF: Final = "weeks of "
"""Weeks of a zone are a calendar of their own, with this before the zone's name."""


class Unit(IntEnum):
    """How long a block is. Together with the grain's number, the number of a series."""

    HOUR = 1
    DAY = 2
    MONTH = 3
    WEEK = 4

    def kept_of(self, grain: Grain) -> bool:
        """Whether sums over such blocks are kept of it."""
        return {Unit.HOUR: grain.hours, Unit.WEEK: not grain.hours}.get(self, True)

    def series_of(self, grain: Grain) -> int:
        """The number of the grain's sums over such blocks."""
        return 10 * grain.number + self


BUCKETS: Final = {unit: Bucket[unit.name] for unit in Unit}
_OF_USE: Final = {
    Bucket.HOUR: (),
    Bucket.DAY: (Unit.DAY,),
    Bucket.WEEK: (Unit.WEEK, Unit.DAY),
    Bucket.MONTH: (Unit.MONTH, Unit.DAY),
    Bucket.NONE: (Unit.MONTH, Unit.DAY),
}
"""Blocks of a zone, no longer than the bucket."""


class Kept(NamedTuple):
    """The calendars that are kept of a zone from a span's beginning on: of its days and months, and of its weeks.

    Weeks are there as far as they are over: until before `weeks_until`.
    """

    days: int | None = None
    weeks: int | None = None
    weeks_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """Blocks of one length, of one calendar; all there are, or those until before a time."""

    unit: Unit
    calendar: int
    zone: tzinfo
    until: datetime | None = None

    def marks(self, since: datetime, until: datetime) -> list[datetime]:
        """Where blocks begin or end between two times, both included."""
        until = until if self.until is None else min(until, self.until)
        if self.unit is Unit.HOUR:
            first, last = -((_EPOCH - since) // _HOUR), (until - _EPOCH) // _HOUR
            return [_EPOCH + number * _HOUR for number in range(first, last + 1)]
        starts = starting(since, BUCKETS[self.unit], self.zone)
        return list(takewhile(lambda mark: mark <= until, dropwhile(lambda mark: mark < since, starts)))


@dataclass(frozen=True, slots=True)
class Pieces:
    """What makes up the buckets.

    Attributes:
        blocks: of each level, where the blocks begin.
        rest: from when until before when the ledger is to be read.
    """

    blocks: dict[Level, list[datetime]] = field(default_factory=dict)
    rest: list[tuple[datetime, datetime]] = field(default_factory=list)


def levels_for(grain: Grain, span: Span, bucket: Bucket, kept: Kept) -> tuple[Level, ...]:
    """The levels that are of use, longest blocks first."""
    levels = []
    for unit in _OF_USE[bucket]:
        calendar, until = (kept.weeks, kept.weeks_until) if unit is Unit.WEEK else (kept.days, None)
        if calendar is not None and unit.kept_of(grain):
            levels.append(Level(unit, calendar, span.zone, until))
    if grain.hours:
        levels.append(Level(Unit.HOUR, HOURS_CALENDAR, UTC))
    return tuple(levels)


def pieces_of(bounds: Sequence[datetime], levels: tuple[Level, ...]) -> Pieces:
    """The pieces of the buckets between neighbouring bounds."""
    return _Cut(bounds, levels).pieces()


class _Cut:
    """Buckets while they are cut. Each level's marks are made once, if a bucket needs them."""

    def __init__(self, bounds: Sequence[datetime], levels: tuple[Level, ...]) -> None:
        self._bounds = bounds
        self._levels = levels
        self._marks: dict[Level, list[datetime]] = {}
        self._pieces = Pieces()

    def pieces(self) -> Pieces:
        for since, until in pairwise(self._bounds):
            self._cover(since, until, 0)
        return self._pieces

    def _cover(self, since: datetime, until: datetime, depth: int) -> None:
        """Blocks of this level or shorter ones, and the rest, from `since` until `until`."""
        if since >= until:
            return
        if depth == len(self._levels):
            self._leave(since, until)
            return
        level = self._levels[depth]
        marks = self._marks_of(level)
        first, last = bisect_left(marks, since), bisect_right(marks, until) - 1
        if first >= last:
            self._cover(since, until, depth + 1)
            return
        self._cover(since, marks[first], depth + 1)
        self._pieces.blocks.setdefault(level, []).extend(marks[first:last])
        self._cover(marks[last], until, depth + 1)

    def _marks_of(self, level: Level) -> list[datetime]:
        if level not in self._marks:
            self._marks[level] = level.marks(self._bounds[0], self._bounds[-1])
        return self._marks[level]

    def _leave(self, since: datetime, until: datetime) -> None:
        rest = self._pieces.rest
        if rest and rest[-1][1] == since:
            since, _ = rest.pop()
        rest.append((since, until))
