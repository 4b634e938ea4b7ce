"""What may be set, and what a setting says of itself."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.errors import Code, RequestError
from citadel_edge.fleet.table import RowState
from citadel_edge.operations.settings import (
    HEAVIEST,
    LIGHTEST,
    BreakerOrder,
    Setting,
    SettingKind,
    Source,
    UpstreamPatch,
    check_order,
    check_patch,
)


@pytest.mark.parametrize("weight", [0, -1, 1e-308, LIGHTEST / 2, math.nan, math.inf, HEAVIEST * 1.01, -math.inf])
def test_a_weight_that_is_none_is_refused_by_name(weight):
    with pytest.raises(RequestError) as refused:
        check_patch(UpstreamPatch(weight=weight))
    assert (refused.value.code, refused.value.param) == (Code.INVALID_REQUEST, "weight")


@given(st.floats(min_value=LIGHTEST, max_value=HEAVIEST) | st.none())
def test_every_other_weight_and_none_are_taken(weight):
    check_patch(UpstreamPatch(weight=weight))


def test_a_patch_of_nothing_is_refused():
    with pytest.raises(RequestError, match="Name what to change"):
        check_patch(UpstreamPatch())


@pytest.mark.parametrize("reason", ["x" * 501, "a\0b", "half \ud800 a letter"])
def test_a_reason_that_cannot_be_kept_is_refused(reason):
    with pytest.raises(RequestError) as refused:
        check_order(BreakerOrder(reason=reason))
    assert refused.value.param == "reason"


def test_a_reason_may_be_any_text_or_none():
    for reason in (None, "", "x" * 500, "Wärmeproblem 🔥"):
        check_order(BreakerOrder(reason=reason))


@pytest.mark.parametrize(
    ("values", "source"),
    [
        ({}, Source.CONFIG),
        ({"state": RowState.ACTIVE}, Source.CONFIG),
        ({"state": RowState.DRAINING}, Source.API),
        ({"weight": 2.0}, Source.API),
        ({"weight": 2.0, "state": RowState.ACTIVE}, Source.API),
        ({"tripped": True}, Source.API),
    ],
)
def test_the_source_is_the_api_while_it_says_anything_else_than_the_configuration(values, source):
    setting = Setting(
        kind=SettingKind.UPSTREAM, id="a", version=1, set_by="usr", set_at=datetime.fromtimestamp(0, UTC), **values
    )
    assert setting.source is source
