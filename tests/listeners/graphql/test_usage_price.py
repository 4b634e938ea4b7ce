"""What a question of usage costs is known from its arguments, grows with what it asks for, and never fails."""

import pytest

from citadel_edge.listeners.graphql.usage_price import LEDGER_DAY, usage_price


def price(**given):
    found = usage_price(given)
    return found.length, found.work


def test_rows_grow_with_the_range_the_bucket_and_the_groups():
    by_day = [price(range={"days": days}, bucket="DAY", groupBy=["MODEL"])[0] for days in (1, 7, 30, 90, 365)]
    assert by_day == sorted(set(by_day))
    year = {"days": 365}
    by_bucket = [price(range=year, bucket=bucket, groupBy=["MODEL"])[0] for bucket in ("MONTH", "WEEK", "DAY", "HOUR")]
    assert by_bucket == sorted(set(by_bucket))
    assert price(range=year)[0] == 1
    month = {"range": {"days": 30}, "bucket": "DAY"}
    assert price(**month, groupBy=["MODEL"])[0] < price(**month, groupBy=["MODEL", "TIER"])[0]
    assert price(range={"days": 400}, bucket="HOUR", groupBy=["USER", "MODEL"])[0] == 1000, "no answer has more rows"


def test_the_top_groups_and_what_is_filtered_cost_what_they_are():
    asked = {"range": {"days": 30}, "bucket": "DAY", "groupBy": ["USER"]}
    assert price(**asked, top={"count": 2})[0] < price(**asked, top={"count": 2, "others": True})[0] < price(**asked)[0]
    assert price(**asked, filter={"user": ["one"]})[0] < price(**asked)[0]
    assert price(**asked, filter={"user": "one"}) == price(**asked, filter={"user": ["one"]})


def test_reading_row_by_row_is_dear():
    sums, rows = price(groupBy=["OUTCOME"])[1], price(groupBy=["OUTCOME", "USER"])[1]
    assert (sums, rows) == (4, 31 * LEDGER_DAY)
    assert price(filter={"outcome": ["ERROR"], "user": ["one"]})[1] == rows
    assert price(bucket="HOUR", groupBy=["USER"])[1] == rows
    assert price(bucket="HOUR", groupBy=["MODEL"])[1] == sums


def test_a_range_of_two_ends_is_that_long():
    ends = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-31T00:00:00+00:00"}
    assert price(range=ends, bucket="DAY") == price(range={"days": 30}, bucket="DAY")
    assert price(range={"from": "2026-01-01T00:00:00Z"}, bucket="DAY") == price(range={"days": 400}, bucket="DAY")


@pytest.mark.parametrize(
    "given",
    [
        {"range": 5},
        {"range": {"days": "x"}},
        {"range": {"days": True}},
        {"range": {"from": 7, "to": []}},
        {"range": {"from": "0001-01-01T00:00:00Z", "to": "0001-01-01"}},
        {"range": {"days": 10**400}},
        {"range": {"days": -(10**400)}},
        {"bucket": 5},
        {"bucket": ["DAY"]},
        {"groupBy": "MODEL"},
        {"groupBy": [None, 3, "PLANET", ["MODEL"]]},
        {"filter": [1]},
        {"filter": {"planet": ["x"], "model": {}}},
        {"top": {"count": "many"}},
        {"top": {"count": 10**400, "others": "x"}},
        {"top": 3},
    ],
)
def test_arguments_that_are_none_are_priced_too(given):
    length, work = price(**given)
    assert 0 <= length <= 1000
    assert 0 <= work <= 4000
