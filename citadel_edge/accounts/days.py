"""Days of a time zone: when they begin, and how clients write the ends of a span. Pure.

Decides that a day begins at midnight, or where the clock has none, at the moment it jumps over it; so that one may have
23 or 25 hours. Refuses to know what is counted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from citadel_edge.errors import Code, RequestError

LONGEST_DAYS: Final = 400
USUAL_DAYS: Final = 30
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 9999
_UNREADABLE: Final = (
    "Expected a day as 2026-11-01, or a time with its offset as 2026-11-01T00:00:00Z (a plus sign written as %2B)."
)
_BEYOND: Final = f"Expected a time from the year {FIRST_YEAR} on and before {LAST_YEAR}."
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From `since` until before `until`, both aware, told in days of `zone`."""

    since: datetime
    until: datetime
    zone: tzinfo

    @property
    def first_day(self) -> date:
        """The day that it begins in."""
        return self.since.astimezone(self.zone).date()

    def days(self) -> Iterator[date]:
        """Every day that it touches, in order."""
        day = self.first_day
        while midnight(day, self.zone) < self.until:
            yield day
            day += timedelta(days=1)


def midnight(day: date, zone: tzinfo) -> datetime:
    """When a day begins, in UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def moment(text: str, zone: tzinfo, *, param: str) -> datetime:
    """`2026-11-01` is that day's beginning; `2026-11-01T08:00:00Z` is itself.

    Raises:
        RequestError: it is neither, or before 1970.
    """
    try:
        found = midnight(date.fromisoformat(text), zone) if _DAY.fullmatch(text) else datetime.fromisoformat(text)
        if found.tzinfo is not None and FIRST_YEAR <= found.year < LAST_YEAR:
            return found.astimezone(UTC)
        words = _UNREADABLE if found.tzinfo is None else _BEYOND
    except ValueError:
        words = _UNREADABLE
    except OverflowError:
        words = _BEYOND
    raise RequestError(Code.INVALID_REQUEST, words, param=param)


def span(since: str | None, until: str | None, zone: tzinfo, *, now: datetime) -> Span:
    """What a client asks for by `from` and `to`: by default the last 30 days, today among them.

    Raises:
        RequestError: an end is none, they are the wrong way round, or more than 400 days apart.
    """
    end = moment(until, zone, param="to") if until is not None else _tomorrow(now, zone)
    start = moment(since, zone, param="from") if since is not None else _before(end, zone)
    if start >= end:
        raise RequestError(Code.INVALID_REQUEST, "Expected a time before that of `to`.", param="from")
    if end - start > timedelta(days=LONGEST_DAYS, hours=1):
        raise RequestError(Code.INVALID_REQUEST, f"Expected at most {LONGEST_DAYS} days until `to`.", param="from")
    return Span(since=start, until=end, zone=zone)


def _tomorrow(now: datetime, zone: tzinfo) -> datetime:
    return midnight(now.astimezone(zone).date() + timedelta(days=1), zone)


def _before(end: datetime, zone: tzinfo) -> datetime:
    return midnight(end.astimezone(zone).date() - timedelta(days=USUAL_DAYS), zone)
