"""Histograms as PostgreSQL sends them: what is read back, and how far it is from the truth."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.analytics.durations import EMPTY, RELATIVE_ERROR, SHORTEST_MS, Durations

MERGED = """
SELECT numeric_send(usage_merge(half)) FROM (
    SELECT sum(usage_lane(ms, count)) AS half FROM unnest($1::float8[], $2::bigint[])
    WITH ORDINALITY AS met (ms, count, place) GROUP BY place % 3
) AS parts
"""


def sent(*groups, weight):
    """As PostgreSQL sends a number of these groups of four digits, the first of them for 10000^weight."""
    heads = (len(groups), weight, 0, 0)
    return b"".join(word.to_bytes(2, "big", signed=True) for word in (*heads, *groups))


def nearest_rank(values, share):
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


async def merged(books, durations, counts=None):
    return Durations(await books.postgres.fetchval(MERGED, durations, counts or [1] * len(durations)))


def test_nothing_has_no_percentiles():
    assert EMPTY.percentiles(0.5, 0.99) == (None, None)


def test_a_number_is_read_wherever_its_digits_begin_and_end():
    lowest = Durations(sent(7, weight=0))
    assert lowest.percentiles(0, 1) == (SHORTEST_MS, SHORTEST_MS)
    two_lanes = Durations(sent(1, 0, 0, 3, weight=5))  # a hundred million in lane 1, thrice as many in lane 0
    assert two_lanes.percentiles(0.75, 0.76) == (SHORTEST_MS, pytest.approx(0.102, rel=0.01))


@given(st.lists(st.floats(0.1, 3_600_000), min_size=1, max_size=1))
def test_a_single_duration_is_every_percentile(values):
    lane = max(0, math.ceil(math.log(values[0] / 0.1) / math.log(1.04)))
    groups, weight = (1,), 3 * lane
    for found in Durations(sent(*groups, weight=weight)).percentiles(0.01, 0.5, 1.0):
        assert abs(found - values[0]) <= RELATIVE_ERROR * values[0]


async def test_percentiles_of_parts_put_together_are_those_of_all(books):
    spreads = (
        [1.5**n for n in range(-8, 40)],
        [250.0] * 1000 + [30_000.0] * 11,
        [0.1, 3_600_000.0],
        [float(n) for n in range(1, 2000)],
    )
    for durations in spreads:
        inside = [min(max(each, 0.1), 3_600_000.0) for each in durations]
        histogram = await merged(books, durations)
        for share in (0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0):
            (found,), exact = histogram.percentiles(share), nearest_rank(inside, share)
            assert abs(found - exact) <= RELATIVE_ERROR * exact + 1e-9


async def test_what_is_no_duration_counts_at_the_ends(books):
    histogram = await merged(books, [-5.0, 0.0, 1e-9, math.inf, math.nan])
    lowest, highest = histogram.percentiles(0.6, 0.61)
    assert lowest == SHORTEST_MS
    assert highest == pytest.approx(3_600_000, rel=RELATIVE_ERROR)


async def test_a_hundred_billion_of_one_duration_stay_in_their_lane(books):
    many = 10**11
    histogram = await merged(books, [100.0, 105.0, 5000.0], [many, many, 1])
    assert histogram.percentiles(0.499)[0] == pytest.approx(100, rel=RELATIVE_ERROR)
    assert histogram.percentiles(0.501)[0] == pytest.approx(105, rel=RELATIVE_ERROR)
    assert histogram.percentiles(1.0)[0] == pytest.approx(5000, rel=RELATIVE_ERROR)
