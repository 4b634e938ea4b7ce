"""How limits are written on the command line, and how some of a sheet are set or cleared."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.cli.accounts.limit_values import LIMITS, Place, assignment, place, said, with_limits, without
from citadel_edge.cli.accounts.shown import sheet
from citadel_edge.config.limits import LIMIT_NAMES

SCOPES = st.sampled_from(["", "one", "org/two:7b", "a=b", "/v1/embeddings"])
PLACES = st.builds(Place, SCOPES, st.sampled_from(list(LIMITS)))
VALUES = st.none() | st.integers(0, 10**10)
ASSIGNMENTS = st.lists(st.tuples(PLACES, VALUES), unique_by=lambda pair: pair[0])


def test_every_limit_has_its_head():
    assert tuple(LIMITS) == LIMIT_NAMES


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("tokens_per_day=5000", (Place("", "tokens_per_day"), 5000)),
        ("usd_per_month=2.5", (Place("", "usd_per_month"), 2.5)),
        ("concurrent=none", (Place("", "concurrent"), None)),
        ("mixtral-8x7b:concurrent=0", (Place("mixtral-8x7b", "concurrent"), 0)),
        ("org/two:7b:usd_per_month=none", (Place("org/two:7b", "usd_per_month"), None)),
        ("a=b:tokens_per_day=1", (Place("a=b", "tokens_per_day"), 1)),
        ("/v1/embeddings:requests_per_minute=6", (Place("/v1/embeddings", "requests_per_minute"), 6)),
    ],
)
def test_a_limit_is_named_with_what_it_is_for(text, read):
    assert assignment(text) == read


@pytest.mark.parametrize(
    "text",
    "= tokens_per_day tokens_per_day= tokens_per_day=-1 tokens_per_day=1e3 tokens_per_day=\N{SUPERSCRIPT TWO} "
    "usd_per_month=nan usd_per_month=inf usd_per_month=-1 speed=1 :concurrent=1 one:=1 one=1".split(),
)
def test_what_is_no_limit_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        assignment(text)


@given(ASSIGNMENTS)
def test_a_sheet_says_what_was_set(assignments):
    made = with_limits({}, assignments)
    assert dict(said(made)) == dict(assignments)
    assert [assignment(text) for text in sheet(made).split(", ") if text] == said(made)


@given(ASSIGNMENTS, ASSIGNMENTS)
def test_setting_some_leaves_the_others_and_what_it_was_made_of(first, second):
    before = with_limits({"burst": 0.5}, first)
    kept = repr(before)
    assert dict(said(with_limits(before, second))) == {**dict(first), **dict(second)}
    assert with_limits(before, second)["burst"] == 0.5
    assert repr(before) == kept


@given(ASSIGNMENTS, st.lists(PLACES))
def test_clearing_some_leaves_the_others_and_no_empty_ones(assignments, places):
    before = with_limits({}, assignments)
    kept = repr(before)
    after = without(before, places)
    assert dict(said(after)) == {where: value for where, value in assignments if where not in places}
    cleared = {where.part for where in places if where.scope}
    assert all(after[part] and all(after[part].values()) for part in cleared & after.keys())
    assert repr(before) == kept


def test_a_place_reads_as_it_is_written():
    for text in ("concurrent", "org/two:7b:concurrent", "/v1/embeddings:concurrent"):
        assert str(place(text)) == text
