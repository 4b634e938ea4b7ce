"""The graph's own scalars, global ids and lists of overrides: what goes in and comes out."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.pages import PageRequest, cursor_of
from citadel_edge.config.limits import LIMIT_NAMES
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.graphql.resolvers.connections import of_memory, wanted_page
from citadel_edge.listeners.graphql.resolvers.ids import global_id, parse, plain_id
from citadel_edge.listeners.graphql.resolvers.quotas import listed, overrides_of
from citadel_edge.listeners.graphql.scalars import SCALARS

NAMES = st.characters(codec="utf-8", exclude_characters="\0")


@pytest.mark.parametrize(
    "value", ["2026-11-01", "yesterday", "2026-11-01T00:00:00", 5, "9999-99-99T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_a_time_without_its_offset_is_refused_in_words(value):
    with pytest.raises(GraphQLError, match="Expected a time with its offset"):
        SCALARS["DateTime"].read(value)


def test_times_come_in_with_any_offset_and_go_out_in_utc():
    moment = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
    assert SCALARS["DateTime"].read("2026-11-01T08:30:00+02:00") == moment
    for told in (moment, moment.timestamp(), "2026-11-01T06:30:00Z"):
        assert SCALARS["DateTime"].show(told) == "2026-11-01T06:30:00Z"


@pytest.mark.parametrize("value", [-1, 2**53, 1.5, True, "5", None, float("nan"), float("inf")])
def test_what_is_no_count_is_refused(value):
    with pytest.raises(GraphQLError, match="whole number"):
        SCALARS["Count"].read(value)


@pytest.mark.parametrize("value", [2.0**60, True, "5", None, float("nan"), float("inf")])
def test_what_is_no_sum_of_dollars_is_refused(value):
    with pytest.raises(GraphQLError, match="US dollars"):
        SCALARS["USD"].read(value)


def test_counts_and_dollars_are_numbers():
    assert SCALARS["Count"].read(5.0) == 5
    assert SCALARS["Count"].show(2**53 - 1) == 2**53 - 1
    assert SCALARS["USD"].show(Decimal("0.000000000012")) == 1.2e-11


@given(st.sampled_from(["User", "Tier"]), st.text(min_size=1, max_size=700))
def test_a_global_id_leads_back_to_what_it_was_made_of(kind, plain):
    made = global_id(kind, plain)
    assert parse(made) == (kind, plain)
    assert plain_id(kind, made) == plain
    with pytest.raises(RequestError):
        plain_id("Model", made)


@given(st.text())
def test_any_text_that_is_no_global_id_is_taken_as_it_is(text):
    if parse(text) is None:
        assert plain_id("User", text) == text


@pytest.mark.parametrize(
    "text", ["usr_0123456789012345678901", "str_0abcdefghij", "gpu-a:model", "dec_" + "0" * 32, "me"]
)
def test_ids_of_the_other_doors_are_no_global_ones(text):
    assert parse(text) is None


@given(st.lists(st.text(NAMES, max_size=3), unique=True), st.integers(1, 5))
def test_lists_in_memory_are_walked_in_the_order_of_their_keys(names, first):
    found, after = [], None
    while True:
        page = of_memory(names, wanted_page("Name", first, after), key=lambda name: f"k{name}")
        found += page.nodes
        after = page.page_info.end_cursor
        if not page.page_info.has_next_page:
            break
    assert found == sorted(names, key=lambda name: f"k{name}")


def test_a_page_has_its_usual_length_where_nobody_says_one():
    assert wanted_page("Name", None, None).request == PageRequest(limit=20)


def test_a_cursor_is_good_for_lists_of_its_kind_alone():
    cursor = of_memory("abc", wanted_page("Name", 1, None), key=str).page_info.end_cursor
    assert wanted_page("Name", 1, cursor).request.key == "a"
    for kind, wrong in (("Other", cursor), ("Name", "%%%"), ("Name", ""), ("Name", cursor_of("a"))):
        with pytest.raises(RequestError, match="`endCursor`") as refused:
            wanted_page(kind, 1, wrong)
        assert (refused.value.code, refused.value.param) == (Code.INVALID_REQUEST, "after")


_OVERRIDE = st.fixed_dictionaries(
    {"name": st.sampled_from(LIMIT_NAMES), "value": st.none() | st.integers(0, 100)},
    optional={"model": st.sampled_from("ab")},
)


@given(st.lists(_OVERRIDE, unique_by=lambda each: (each["name"], each.get("model"))))
def test_overrides_as_a_list_say_the_same_as_the_accounts_sheets(overrides):
    def key(each):
        return each["name"], each.get("model") or ""

    assert sorted(listed(overrides_of(overrides)), key=key) == sorted(overrides, key=key)
