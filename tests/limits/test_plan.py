"""From caller, model and endpoint to limits."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.entitlement import UNLIMITED, Entitlement, LimitSheet, TopUp
from citadel_edge.config.limits import MOST_UNITS, MOST_USD
from citadel_edge.limits.plan import Periods, Plans, Who, dimensions
from citadel_edge.limits.values import MOST, MOST_NANO_USD, NANO, LimitName

HOUR_MS = 3_600_000
ZONES = ["UTC", "Europe/Berlin", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kathmandu"]


def at(text, zone=UTC):
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def who(entitlement, **more):
    return Who(organisation_id="org_1", user_id="usr_1", entitlement=entitlement, **more)


NOON = at("2026-11-23T12:00")


def plan(entitlement, now_ms=NOON, **more):
    return {(one.subject, one.name): one for one in dimensions(who(entitlement, **more), now_ms)}


def test_what_nobody_limited_has_no_dimensions():
    assert dimensions(who(UNLIMITED, model="m", endpoint="/v1/x"), at("2026-11-23T12:00")) == ()


def test_an_override_takes_the_tier_s_place_name_by_name():
    tier = LimitSheet(values={"requests_per_minute": 20, "tokens_per_minute": 1000, "concurrent": 2})
    over = LimitSheet(values={"tokens_per_minute": 50, "concurrent": None})
    made = plan(Entitlement(tier=tier, overrides=over))
    assert {name: one.limit for (_, name), one in made.items()} == {"requests_per_minute": 20, "tokens_per_minute": 50}


def test_zero_allows_nothing_and_is_not_the_same_as_none():
    made = plan(Entitlement(tier=LimitSheet(values={"concurrent": 0, "tokens_per_day": None})))
    assert [(one.name, one.limit) for one in made.values()] == [(LimitName.CONCURRENT, 0)]


def test_a_burst_of_requests_holds_at_least_one():
    made = plan(Entitlement(tier=LimitSheet(values={"requests_per_minute": 3, "tokens_per_minute": 3}), burst=0.2))
    assert [one.burst for one in made.values()] == [1, 0]


def test_limits_for_a_model_or_an_endpoint_stand_beside_the_others():
    tier = LimitSheet(
        values={"tokens_per_minute": 1000},
        by_model={"big": {"tokens_per_minute": 100}, "other": {"concurrent": 1}},
        by_endpoint={"/v1/embeddings": {"requests_per_minute": 7}},
    )
    over = LimitSheet(by_model={"big": {"tokens_per_minute": 300}})
    shared = LimitSheet(values={"usd_per_month": 2.5}, by_model={"big": {"concurrent": 4}}, burst=0.5)
    made = plan(Entitlement(tier=tier, overrides=over, organisation=shared), model="big", endpoint="/v1/embeddings")
    assert {key: one.limit for key, one in made.items()} == {
        ("u:usr_1", "tokens_per_minute"): 1000,
        ("u:usr_1:m:big", "tokens_per_minute"): 300,
        ("u:usr_1:e:/v1/embeddings", "requests_per_minute"): 7,
        ("o", "usd_per_month"): 2.5 * NANO,
        ("o:m:big", "concurrent"): 4,
    }
    assert [one.model for one in made.values()] == ["", "big", "", "", "big"]


def test_top_ups_count_for_the_user_s_own_quotas_until_they_lapse():
    entitled = Entitlement(
        tier=LimitSheet(values={"tokens_per_month": 10, "usd_per_month": 1}, by_model={"m": {"tokens_per_day": 5}}),
        organisation=LimitSheet(values={"tokens_per_month": 100}),
        top_ups=(TopUp(tokens=7), TopUp(tokens=3, expires_unix_s=NOON / 1000), TopUp(nano_usd=4)),
    )
    made = plan(entitled, NOON, model="m")
    assert [(one.extra, one.lapsed) for one in made.values()] == [(7, 3), (4, 0), (0, 0), (0, 0)]
    assert next((one.extra, one.lapsed) for one in plan(entitled, NOON - 1).values()) == (10, 0)


@pytest.mark.parametrize(
    ("zone", "when", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00", 25),
        ("Africa/Cairo", "2026-04-24T12:00", 23),  # the clock jumps at midnight: the day has no 00:00
        ("America/Havana", "2026-11-01T12:00", 25),  # it goes back to 00:00: the day has two
        ("Australia/Lord_Howe", "2026-04-05T12:00", 24.5),
        ("UTC", "2026-10-25T12:00", 24),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone, when, hours):
    day = Periods(at(when, ZoneInfo(zone)), ZoneInfo(zone)).day
    assert day.id == when[:10]
    assert (day.end_ms - day.start_ms) / HOUR_MS == hours


def test_a_month_ends_with_its_year():
    month = Periods(at("2026-12-31T23:30", ZoneInfo("Europe/Berlin")), ZoneInfo("Europe/Berlin")).month
    assert (month.id, month.end_ms) == ("2026-12", at("2026-12-31T23:00"))


@given(st.sampled_from(ZONES), st.integers(at("2025-01-01T00:00"), at("2029-01-01T00:00")))
def test_every_moment_is_in_its_periods_and_the_next_follow_at_once(name, now_ms):
    zone = ZoneInfo(name)
    periods = Periods(now_ms, zone)
    for period, following in (
        (periods.day, Periods(periods.day.end_ms, zone).day),
        (periods.month, Periods(periods.month.end_ms, zone).month),
    ):
        assert period.start_ms <= now_ms < period.end_ms
        assert following.start_ms == period.end_ms
        assert following.id > period.id


def test_a_plan_is_made_anew_when_its_period_ends_a_top_up_lapses_or_the_entitlement_changes():
    midnight = at("2026-11-24T00:00")
    entitled = Entitlement(
        tier=LimitSheet(values={"tokens_per_day": 10}), top_ups=(TopUp(tokens=1, expires_unix_s=midnight / 1000 - 5),)
    )
    plans = Plans()
    first = plans.of(who(entitled), midnight - 10_000)
    assert plans.of(who(entitled), midnight - 5_001) is first
    assert plans.of(who(entitled), midnight - 5_000)[0].lapsed == 1
    assert plans.of(who(entitled), midnight)[0].period.id == "2026-11-24"
    assert plans.of(who(entitled), midnight - 10_000) == first
    assert plans.of(who(UNLIMITED), midnight) == ()


def test_the_largest_limits_that_can_be_set_are_told_apart():
    assert MOST_UNITS == MOST
    assert MOST_USD * NANO == MOST_NANO_USD
    made = plan(Entitlement(tier=LimitSheet(values={"usd_per_month": MOST_USD, "tokens_per_month": MOST_UNITS})))
    assert {one.limit for one in made.values()} == {MOST, MOST_NANO_USD}
