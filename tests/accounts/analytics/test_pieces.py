"""Which blocks make up a bucket: all of it, once, the longest that fit."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.analytics.buckets import Bucket, bounds_of, starting, starts_of
from citadel_edge.accounts.analytics.dimensions import GRAINS
from citadel_edge.accounts.analytics.pieces import BUCKETS, Kept, Unit, levels_for, pieces_of
from citadel_edge.accounts.days import Span

HOURS, NO_HOURS = GRAINS[0], GRAINS[-1]
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
ZONES = [UTC, *map(ZoneInfo, "Europe/Berlin Asia/Kolkata Asia/Kathmandu Australia/Lord_Howe America/New_York".split())]


def cut(span, bucket, grain, kept):
    starts = starts_of(span, bucket)
    bounds = bounds_of(span, starts)
    return bounds, pieces_of(bounds, levels_for(grain, span, bucket, kept))


def counted(pieces):
    return {level.unit: len(starts) for level, starts in pieces.blocks.items()}


def test_days_of_a_kept_zone_are_one_block_each_whatever_their_length():
    zone = ZoneInfo("Asia/Kathmandu")
    span = Span(since=datetime(2026, 3, 1, tzinfo=zone), until=datetime(2026, 4, 1, tzinfo=zone), zone=zone)
    _, pieces = cut(span, Bucket.DAY, NO_HOURS, Kept(3))
    assert counted(pieces) == {Unit.DAY: 31}
    assert pieces.rest == []


def test_a_year_is_its_months_and_the_days_at_its_ends():
    zone = ZoneInfo("Europe/Berlin")
    span = Span(since=datetime(2025, 6, 28, tzinfo=zone), until=datetime(2026, 6, 3, tzinfo=zone), zone=zone)
    _, pieces = cut(span, Bucket.NONE, NO_HOURS, Kept(1))
    assert counted(pieces) == {Unit.MONTH: 11, Unit.DAY: 3 + 2}
    assert pieces.rest == []


def test_weeks_are_blocks_of_what_has_no_hours_and_days_the_rest_of_the_first_and_last():
    zone = ZoneInfo("Europe/Berlin")
    span = Span(since=datetime(2026, 3, 4, tzinfo=zone), until=datetime(2026, 4, 1, tzinfo=zone), zone=zone)
    _, pieces = cut(span, Bucket.WEEK, NO_HOURS, Kept(1, 2))
    assert counted(pieces) == {Unit.WEEK: 3, Unit.DAY: 5 + 2}
    assert {level.unit: level.calendar for level in pieces.blocks} == {Unit.WEEK: 2, Unit.DAY: 1}
    _, pieces = cut(span, Bucket.WEEK, HOURS, Kept(1, 2))
    assert counted(pieces) == {Unit.DAY: 28}


def test_what_is_shorter_than_a_block_is_the_ledgers():
    since, until = datetime(2026, 3, 1, 12, 30, tzinfo=UTC), datetime(2026, 3, 4, 1, 0, 0, 5, tzinfo=UTC)
    _, pieces = cut(Span(since=since, until=until, zone=UTC), Bucket.NONE, HOURS, Kept(1))
    assert counted(pieces) == {Unit.DAY: 2, Unit.HOUR: 11 + 1}
    assert pieces.rest == [(since, since + timedelta(minutes=30)), (until - timedelta(microseconds=5), until)]


def test_without_a_calendar_and_hours_all_is_read_from_the_ledger_at_one_go():
    span = Span(since=datetime(2026, 3, 1, tzinfo=UTC), until=datetime(2026, 4, 1, tzinfo=UTC), zone=UTC)
    _, pieces = cut(span, Bucket.DAY, NO_HOURS, Kept())
    assert (pieces.blocks, pieces.rest) == ({}, [(span.since, span.until)])


@given(
    after=st.timedeltas(timedelta(0), timedelta(days=700)),
    length=st.timedeltas(timedelta(microseconds=1), timedelta(days=60)),
    zone=st.sampled_from(ZONES),
    bucket=st.sampled_from(Bucket),
    kept=st.tuples(st.sampled_from((HOURS, NO_HOURS)), st.sampled_from((Kept(), Kept(1), Kept(1, 2)))),
)
def test_each_moment_of_the_span_is_in_one_piece_and_no_block_in_two_buckets(after, length, zone, bucket, kept):
    span = Span(since=FIRST + after, until=FIRST + after + length, zone=zone)
    bounds, pieces = cut(span, bucket, *kept)
    found = list(pieces.rest)
    inside = list(pairwise(bounds))
    for level, starts in pieces.blocks.items():
        for start in starts:
            _, end = islice(starting(start, BUCKETS[level.unit], level.zone), 2)
            one, other = inside[bisect_right(bounds, start) - 1]
            assert one <= start < end <= other
            found.append((start, end))
    found.sort()
    assert found[0][0] == span.since
    assert found[-1][1] == span.until
    assert all(one[1] == other[0] for one, other in pairwise(found))
