"""Buckets of time as a calendar has them: hours, days, weeks and months of a time zone. Pure.

Decides where each begins: a day at its midnight, or where the clock has none, at the moment it jumps over it; a week on
Monday; an hour with the clock's full hour, and where the clock is set by half an hour, at that moment too. So a day
may have 23 or 25 hours, and an hour that comes twice is two buckets.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import takewhile
from typing import Final

from citadel_edge.accounts.days import Span, midnight
from citadel_edge.errors import Code, RequestError

MOST: Final = 2500
"""A hundred days of hours."""
_HOUR: Final = timedelta(hours=1)


class Bucket(StrEnum):
    """How long a bucket is; NONE is one for the whole span."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    NONE = "none"


def starts_of(span: Span, bucket: Bucket) -> list[datetime]:
    """When the buckets that the span touches begin, in UTC. The first may begin before the span does.

    Raises:
        RequestError: there would be too many.
    """
    if bucket is Bucket.NONE:
        return [span.since.astimezone(UTC)]
    if bucket is Bucket.HOUR and (span.until - span.since) / _HOUR > MOST:
        raise RequestError(Code.INVALID_REQUEST, f"Expected at most {MOST} hours: ask for days.", param="bucket")
    return starts_before(span.until, span.since, bucket, span.zone)


def starts_before(until: datetime, since: datetime, bucket: Bucket, zone: tzinfo) -> list[datetime]:
    """The beginning of the bucket that `since` lies in, and those that follow before `until`."""
    return list(takewhile(lambda start: start < until, starting(since, bucket, zone)))


def starting(since: datetime, bucket: Bucket, zone: tzinfo) -> Iterator[datetime]:
    """The beginning of the bucket that `since` lies in, and those of all that follow, without end."""
    first, following = _STEPS[bucket]
    start = first(since.astimezone(UTC), zone)
    while True:
        yield start
        start = following(start, zone)


def bounds_of(span: Span, starts: list[datetime]) -> list[datetime]:
    """The ends of the buckets in UTC, as far as they lie in the span: one more than there are buckets."""
    return [span.since.astimezone(UTC), *starts[1:], span.until.astimezone(UTC)]


def _hour(at: datetime, zone: tzinfo) -> datetime:
    local = at.astimezone(zone)
    return at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _next_hour(start: datetime, zone: tzinfo) -> datetime:
    return _hour(start, zone) + _HOUR


def _day(at: datetime, zone: tzinfo) -> datetime:
    return midnight(at.astimezone(zone).date(), zone)


def _next_day(start: datetime, zone: tzinfo) -> datetime:
    """A day that the calendar left out (the zone crossed the date line) is none."""
    day, found = start.astimezone(zone).date(), start
    while found <= start:
        day += timedelta(days=1)
        found = midnight(day, zone)
    return found


def _week(at: datetime, zone: tzinfo) -> datetime:
    day = at.astimezone(zone).date()
    return midnight(day - timedelta(days=day.weekday()), zone)


def _next_week(start: datetime, zone: tzinfo) -> datetime:
    day = start.astimezone(zone).date()
    return midnight(day + timedelta(days=7 - day.weekday()), zone)


def _month(at: datetime, zone: tzinfo) -> datetime:
    return midnight(at.astimezone(zone).date().replace(day=1), zone)


def _next_month(start: datetime, zone: tzinfo) -> datetime:
    day = start.astimezone(zone).date().replace(day=28) + timedelta(days=4)
    return midnight(day.replace(day=1), zone)


_Step = Callable[[datetime, tzinfo], datetime]
_STEPS: Final[dict[Bucket, tuple[_Step, _Step]]] = {
    Bucket.HOUR: (_hour, _next_hour),
    Bucket.DAY: (_day, _next_day),
    Bucket.WEEK: (_week, _next_week),
    Bucket.MONTH: (_month, _next_month),
}
