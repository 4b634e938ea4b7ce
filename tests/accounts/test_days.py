"""When days begin in a time zone, and how a span is asked for: no server needed."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.days import LONGEST_DAYS, Span, midnight, moment, span
from citadel_edge.errors import Code, RequestError

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
ODD_ZONES = [
    ZoneInfo(name)
    for name in (
        "Europe/Berlin",
        "Africa/Cairo",
        "America/Havana",
        "Asia/Beirut",
        "Pacific/Apia",
        "Australia/Lord_Howe",
    )
]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 11, 23), 24),
        ("Africa/Cairo", date(2026, 4, 24), 23),
        ("America/Havana", date(2026, 11, 1), 25),
        ("Pacific/Apia", date(2011, 12, 30), 0),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ],
)
def test_a_day_is_as_long_as_the_clock_makes_it(zone, day, hours):
    begins, ends = (midnight(each, ZoneInfo(zone)) for each in (day, day + timedelta(days=1)))
    assert (ends - begins) == timedelta(hours=hours)


@given(st.sampled_from(ODD_ZONES), st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001 - UTC's
def test_every_moment_is_in_the_day_that_a_clock_on_the_wall_shows(zone, naive):
    at = naive.replace(tzinfo=UTC)
    today = at.astimezone(zone).date()
    assert midnight(today, zone) <= at < midnight(today + timedelta(days=1), zone)


@given(
    st.sampled_from(ODD_ZONES),
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - UTC's
    st.timedeltas(timedelta(microseconds=1), timedelta(days=50)),
)
def test_the_days_of_a_span_cover_it_and_no_more(zone, naive, length):
    since = naive.replace(tzinfo=UTC)
    days = list(Span(since=since, until=since + length, zone=zone).days())
    assert midnight(days[0], zone) <= since
    assert midnight(days[-1], zone) < since + length <= midnight(days[-1] + timedelta(days=1), zone)


def test_without_ends_it_is_the_last_30_days_and_today_is_one_of_them():
    asked = span(None, None, BERLIN, now=NOW)
    days = list(asked.days())
    assert (days[0], days[-1], len(days)) == (date(2026, 10, 26), date(2026, 11, 24), 30)


def test_an_end_is_a_day_s_beginning_or_a_moment():
    asked = span("2026-03-29", "2026-03-30", BERLIN, now=NOW)
    assert (asked.since, asked.until) == (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))
    asked = span("2026-03-29T12:00:00+02:00", "2026-03-29T10:00:01Z", BERLIN, now=NOW)
    assert asked.until - asked.since == timedelta(seconds=1)
    assert list(asked.days()) == [date(2026, 3, 29)]


def test_one_end_is_enough():
    asked = span(None, "2026-11-01", BERLIN, now=NOW)
    assert (asked.first_day, len(list(asked.days()))) == (date(2026, 10, 2), 30)
    asked = span("2026-11-24", None, BERLIN, now=NOW)
    assert list(asked.days()) == [date(2026, 11, 24)]


@pytest.mark.parametrize(
    ("since", "until", "param"),
    [
        ("2026-11-02", "2026-11-02", "from"),
        ("2026-11-02", "2026-11-01", "from"),
        ("2025-01-01", "2026-11-01", "from"),
        ("2026-11-25", None, "from"),
        ("yesterday", None, "from"),
        ("2026-02-30", None, "from"),
        ("20261101", None, "from"),
        ("2026-11-01T00:00:00", None, "from"),
        ("0001-01-01", None, "from"),
        ("", None, "from"),
        (None, "9999-12-31", "to"),
        (None, "9999-12-31T23:59:59-14:00", "to"),
        (None, "0001-01-01T00:00:00+14:00", "to"),
    ],
)
def test_an_end_that_cannot_be_is_named(since, until, param):
    with pytest.raises(RequestError) as caught:
        span(since, until, ZoneInfo("Pacific/Kiritimati"), now=NOW)
    assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, param)


def test_the_longest_span_may_hold_an_hour_more():
    until = date(2026, 11, 1)
    asked = span(str(until - timedelta(days=LONGEST_DAYS)), str(until), BERLIN, now=NOW)
    assert len(list(asked.days())) == LONGEST_DAYS


@given(st.text(max_size=30))
def test_any_text_is_a_moment_or_refused(text):
    with suppress(RequestError):
        assert moment(text, BERLIN, param="from").tzinfo is UTC
