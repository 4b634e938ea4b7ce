"""Where hours, days, weeks and months begin, in zones that change their clocks by whole and half hours."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.analytics.buckets import MOST, Bucket, bounds_of, starts_of
from citadel_edge.accounts.days import Span
from citadel_edge.errors import Code, RequestError

BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
ZONES = [UTC, *map(ZoneInfo, "Europe/Berlin Asia/Kolkata Asia/Kathmandu Australia/Lord_Howe America/Sao_Paulo".split())]


def local(starts, zone):
    return [start.astimezone(zone).strftime("%d. %H:%M") for start in starts]


def test_an_hour_that_comes_twice_is_two_buckets_and_one_that_does_not_is_none():
    autumn = Span(
        since=datetime(2026, 10, 25, 0, tzinfo=BERLIN), until=datetime(2026, 10, 25, 4, tzinfo=BERLIN), zone=BERLIN
    )
    assert local(starts_of(autumn, Bucket.HOUR), BERLIN) == [
        "25. 00:00",
        "25. 01:00",
        "25. 02:00",
        "25. 02:00",
        "25. 03:00",
    ]
    spring = Span(
        since=datetime(2026, 3, 29, 1, tzinfo=BERLIN), until=datetime(2026, 3, 29, 4, tzinfo=BERLIN), zone=BERLIN
    )
    assert local(starts_of(spring, Bucket.HOUR), BERLIN) == ["29. 01:00", "29. 03:00"]


def test_where_the_clock_is_set_by_half_an_hour_an_hour_ends_there():
    day = Span(
        since=datetime(2026, 10, 4, 0, tzinfo=LORD_HOWE),
        until=datetime(2026, 10, 4, 4, tzinfo=LORD_HOWE),
        zone=LORD_HOWE,
    )
    assert local(starts_of(day, Bucket.HOUR), LORD_HOWE) == ["04. 00:00", "04. 01:00", "04. 02:30", "04. 03:00"]


def test_weeks_begin_on_monday_and_months_on_the_first():
    span = Span(since=datetime(2026, 10, 29, 7, tzinfo=UTC), until=datetime(2026, 11, 12, 9, tzinfo=UTC), zone=BERLIN)
    assert local(starts_of(span, Bucket.WEEK), BERLIN) == ["26. 00:00", "02. 00:00", "09. 00:00"]
    assert local(starts_of(span, Bucket.MONTH), BERLIN) == ["01. 00:00", "01. 00:00"]
    assert starts_of(span, Bucket.NONE) == [span.since]
    assert bounds_of(span, starts_of(span, Bucket.MONTH)) == [
        span.since,
        datetime(2026, 11, 1, tzinfo=BERLIN),
        span.until,
    ]


def test_hours_of_more_than_a_hundred_days_are_refused():
    since = datetime(2026, 1, 1, tzinfo=UTC)
    assert len(starts_of(Span(since=since, until=since + timedelta(hours=MOST), zone=UTC), Bucket.HOUR)) == MOST
    with pytest.raises(RequestError) as caught:
        starts_of(Span(since=since, until=since + timedelta(hours=MOST + 1), zone=UTC), Bucket.HOUR)
    assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, "bucket")


@given(
    at=st.timedeltas(timedelta(0), timedelta(days=1400)).map(lambda after: FIRST + after),
    hours=st.integers(1, 2000),
    zone=st.sampled_from(ZONES),
    bucket=st.sampled_from(Bucket),
)
def test_buckets_follow_each_other_without_a_gap_and_cover_the_span(at, hours, zone, bucket):
    span = Span(since=at, until=at + timedelta(hours=hours), zone=zone)
    starts = starts_of(span, bucket)
    assert starts[0] <= span.since
    assert len(starts) == 1 or starts[1] > span.since
    assert starts[-1] < span.until
    assert all(one < other for one, other in pairwise(starts))
    longest = {"hour": 1.5, "day": 25, "week": 169, "month": 745, "none": 2000}[bucket]
    assert all(other - one <= timedelta(hours=longest) for one, other in pairwise(starts))
    assert bounds_of(span, starts)[0] == span.since
