"""How answers of the accounts' API read."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.cli.accounts.audit import change_of
from citadel_edge.cli.accounts.keys import state_of
from citadel_edge.cli.accounts.shown import cell, duration, number


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("created_at", "2026-11-23T12:30:05.123456Z", "2026-11-23 12:30:05Z"),
        ("created_at", "2026-11-23T12:30:05+01:00", "2026-11-23T12:30:05+01:00"),
        ("expires_at", None, ""),
        ("tokens_per_day", None, "none"),
        ("tokens_per_day", 0, "0"),
        ("usd_per_month", 12.5, "12.5"),
        ("burst", 0.2, "0.2"),
        ("models", ["one", "two"], "one, two"),
        ("on_redis_down", {"requests": "open", "spend": "closed"}, "requests=open, spend=closed"),
        ("by_model", {"one": {"concurrent": 2, "tokens_per_day": None}}, "one:concurrent=2, one:tokens_per_day=none"),
        ("by_endpoint", {}, ""),
        ("limits", {"usd_per_month": 5, "burst": 0.5}, "usd_per_month=5, burst=0.5"),
        ("denied", False, "no"),
        ("name", None, ""),
    ],
)
def test_a_value_for_people(name, value, shown):
    assert cell(name, value).text == shown


@given(st.integers(-(10**15), 10**15) | st.floats(-1e9, 1e9))
def test_a_number_is_exact_to_a_billionth(value):
    assert float(number(value)) == pytest.approx(value, abs=1e-9)
    assert "e" not in number(value)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (0.2, "1s"), (59, "59s"), (60, "1m"), (61.5, "1m 2s"), (7200, "2h"), (93784, "1d 2h"), (None, "")],
)
def test_a_duration_in_its_largest_units(seconds, shown):
    assert duration(seconds) == shown


def test_a_key_s_state():
    now = datetime(2026, 11, 23, tzinfo=UTC)
    key = {"revoked_at": None, "expires_at": None}
    assert state_of(key, now) == "active"
    assert state_of({**key, "expires_at": "2026-11-23T00:00:01Z"}, now) == "active"
    assert state_of({**key, "expires_at": "2026-11-23T00:00:00Z"}, now) == "expired"
    assert state_of({**key, "revoked_at": "2026-11-01T00:00:00Z"}, now) == "revoked"


def test_a_change_is_what_differs():
    before = {"version": 1, "updated_at": "then", "tier": "free", "limit": None, "name": "ada"}
    after = {"version": 2, "updated_at": "now", "tier": "pro", "limit": 5, "name": "ada"}
    assert change_of(before, after) == "tier: free → pro, limit: none → 5"
    made = change_of({"limits": {}}, {"limits": {"by_model": {"one": {"concurrent": None}}}})
    assert made == "limits: none → one:concurrent=none"
    assert change_of(None, after) == ""
    assert change_of(before, None) == ""
