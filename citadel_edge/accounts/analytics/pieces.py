"""Buckets of time as the blocks that sums are kept of. Pure.

Decides which blocks make up a bucket: the longest that fit, shorter ones at its ends, and what is left of it, shorter
than any block, is read from the ledger itself. So every bucket of every time zone is exact, wherever its ends lie.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum
from itertools import dropwhile, pairwise, takewhile
from typing import Final

from citadel_edge.accounts.analytics.buckets import Bucket, starting
from citadel_edge.accounts.analytics.dimensions import Grain
from citadel_edge.accounts.days import Span

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
HOURS_CALENDAR: Final = 0
"""Hours are those of UTC, whatever the zone."""


class Unit(IntEnum):
    """How long a block is. Together with the grain's number, the number of a series."""

    HOUR = 1
    DAY = 2
    MONTH = 3

    def series_of(self, grain: Grain) -> int:
        """The number of the grain's sums over such blocks."""
        return 10 * grain.number + self


BUCKETS: Final = {Unit.HOUR: Bucket.HOUR, Unit.DAY: Bucket.DAY, Unit.MONTH: Bucket.MONTH}
_OF_USE: Final = {
    Bucket.HOUR: (),
    Bucket.DAY: (Unit.DAY,),
    Bucket.WEEK: (Unit.DAY,),
    Bucket.MONTH: (Unit.MONTH, Unit.DAY),
    Bucket.NONE: (Unit.MONTH, Unit.DAY),
}
"""Blocks of a zone, no longer than the bucket."""


@dataclass(frozen=True, slots=True)
class Level:
    """Blocks of one length, of one calendar."""

    unit: Unit
    calendar: int
    zone: tzinfo

    def marks(self, since: datetime, until: datetime) -> list[datetime]:
        """Where blocks begin or end between two times, both included."""
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


def levels_for(grain: Grain, span: Span, bucket: Bucket, calendar: int | None) -> tuple[Level, ...]:
    """The levels that are of use, longest blocks first. `calendar` is that of the span's zone, if there is one."""
    levels = [] if calendar is None else [Level(unit, calendar, span.zone) for unit in _OF_USE[bucket]]
    if grain.hours:
        levels.append(Level(Unit.HOUR, HOURS_CALENDAR, UTC))
    return tuple(levels)


def pieces_of(bounds: Sequence[datetime], levels: tuple[Level, ...]) -> Pieces:
    """The pieces of the buckets between neighbouring bounds."""
    pieces = Pieces()
    for since, until in pairwise(bounds):
        for level, marks in _covered(since, until, levels):
            if level is not None:
                pieces.blocks.setdefault(level, []).extend(marks[:-1])
            elif pieces.rest and pieces.rest[-1][1] == marks[0]:
                pieces.rest[-1] = (pieces.rest[-1][0], marks[1])
            else:
                pieces.rest.append((marks[0], marks[1]))
    return pieces


def _covered(
    since: datetime, until: datetime, levels: tuple[Level, ...]
) -> Iterator[tuple[Level | None, list[datetime]]]:
    if since >= until:
        return
    if not levels:
        yield None, [since, until]
        return
    marks = levels[0].marks(since, until)
    if len(marks) <= 1:
        yield from _covered(since, until, levels[1:])
        return
    yield from _covered(since, marks[0], levels[1:])
    yield levels[0], marks
    yield from _covered(marks[-1], until, levels[1:])
