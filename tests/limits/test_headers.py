"""The headers of limits: well formed by the draft and like OpenAI's, and never earlier than the truth."""

import re
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.limits.headers import duration, limit_headers, retry_after_s
from citadel_edge.limits.values import LimitName, Standing

RPM = LimitName.REQUESTS_PER_MINUTE
ITEM = re.compile(r'"([a-z-]+)"((?:;[a-z]+=(?:\d{1,15}|"[a-z-]+"))*)')
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def standing(name=RPM, *, limit=60, remaining=12, reset_s=30.0, scope="user", **fields):
    return Standing(name=name, scope=scope, limit=limit, remaining=remaining, reset_s=reset_s, **fields)


def parsed(field):
    """A structured field's list of strings with parameters; whatever is none fails."""
    items = {}
    for text in field.split(", "):
        match = ITEM.fullmatch(text)
        assert match is not None, text
        parameters = (one.partition("=") for one in match[2].split(";")[1:])
        assert match[1] not in items
        items[match[1]] = {key: value.strip('"') if value[0] == '"' else int(value) for key, _, value in parameters}
    return items


def seconds(text):
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    assert "".join(number + unit for number, unit in parts) == text
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def test_the_draft_s_two_fields_and_openai_s_six():
    tokens = standing(LimitName.TOKENS_PER_MINUTE, limit=20_000, remaining=19_990, reset_s=0.03)
    assert limit_headers([standing(), tokens]) == {
        "RateLimit-Policy": '"rpm";q=60;w=60, "tpm";q=20000;w=60',
        "RateLimit": '"rpm";r=12;t=30, "tpm";r=19990;t=1',
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "12",
        "x-ratelimit-reset-requests": "30s",
        "x-ratelimit-limit-tokens": "20000",
        "x-ratelimit-remaining-tokens": "19990",
        "x-ratelimit-reset-tokens": "30ms",
    }


def test_every_limit_has_its_policy():
    policies = parsed(limit_headers([standing(name) for name in LimitName])["RateLimit-Policy"])
    assert policies == {
        "rpm": {"q": 60, "w": 60},
        "tpm": {"q": 60, "w": 60},
        "concurrent": {"q": 60, "qu": "concurrent-requests"},
        "tokens-day": {"q": 60, "w": 86_400},
        "tokens-month": {"q": 60, "w": 2_678_400},
        "usd-month": {"q": 60, "w": 2_678_400},
    }


def test_no_limits_are_no_headers():
    assert limit_headers([]) == {}


@pytest.mark.parametrize("standings", [[], [standing()]])
def test_degraded_is_said(standings):
    assert limit_headers(standings, degraded=True)["X-Citadel-Limits"] == "degraded"
    assert "X-Citadel-Limits" not in limit_headers(standings)


def test_dollars_are_whole_rounded_against_the_client():
    shown = limit_headers([standing(LimitName.USD_PER_MONTH, limit=0.5, remaining=0.49, reset_s=10.2)])
    assert parsed(shown["RateLimit-Policy"])["usd-month"]["q"] == 1
    assert parsed(shown["RateLimit"])["usd-month"] == {"r": 0, "t": 11}


def test_what_is_wholly_free_has_no_reset():
    assert limit_headers([standing(remaining=60, reset_s=0)])["RateLimit"] == '"rpm";r=60'


def test_of_several_of_one_name_the_one_with_least_left_is_told():
    shown = limit_headers([standing(remaining=5), standing(scope="organisation", limit=600, remaining=2)])
    assert shown["RateLimit-Policy"] == '"rpm";q=600;w=60'
    assert shown["x-ratelimit-remaining-requests"] == "2"


def test_of_several_of_one_name_the_one_that_denies_longest_is_told():
    free = standing(remaining=0)
    soon = standing(remaining=1, denied=True, retry_after_s=1)
    late = standing(remaining=2, limit=600, denied=True, retry_after_s=7)
    for order in ([free, soon, late], [late, soon, free]):
        assert limit_headers(order)["RateLimit"] == '"rpm";r=2;t=7'


def test_a_denial_says_when_to_come_again_and_not_before():
    requests = standing(remaining=0, reset_s=12, denied=True, retry_after_s=0.2)
    tokens = standing(LimitName.TOKENS_PER_MINUTE, remaining=0, reset_s=60, denied=True, retry_after_s=41.3)
    shown = limit_headers([requests, tokens])
    assert shown["Retry-After"] == "42"
    assert parsed(shown["RateLimit"]) == {"rpm": {"r": 0, "t": 1}, "tpm": {"r": 0, "t": 42}}
    assert shown["x-ratelimit-reset-requests"] == "12s"


def test_what_will_never_be_granted_names_no_time():
    soon = standing(remaining=0, denied=True, retry_after_s=5)
    never = standing(LimitName.TOKENS_PER_DAY, limit=0, remaining=0, denied=True)
    shown = limit_headers([soon, never])
    assert "Retry-After" not in shown
    assert parsed(shown["RateLimit"])["tokens-day"] == {"r": 0}
    assert retry_after_s([soon, never]) is None


@pytest.mark.parametrize(
    ("given_s", "written"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.012, "12ms"),
        (0.9995, "1s"),
        (1, "1s"),
        (8.64, "8.64s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (93.2, "1m34s"),
        (3600, "1h0m0s"),
        (90_061, "25h1m1s"),
    ],
)
def test_durations_are_written_as_openai_does(given_s, written):
    assert duration(given_s) == written


@given(
    st.lists(
        st.builds(
            Standing,
            name=st.sampled_from(LimitName),
            scope=st.just("user"),
            limit=st.integers(0, 10**10) | st.floats(0, 1e7),
            remaining=st.integers(-(10**10), 10**16) | st.floats(-1e7, 1e7),
            reset_s=st.floats(0, 3e6),
            denied=st.booleans(),
            retry_after_s=st.none() | st.floats(0, 3e6),
        ),
        min_size=1,
    )
)
def test_any_standings_make_well_formed_headers_that_send_nobody_too_early(standings):
    shown = limit_headers(standings)
    policies, left = parsed(shown["RateLimit-Policy"]), parsed(shown["RateLimit"])
    assert policies.keys() == left.keys()
    denied = [one for one in standings if one.denied]
    if "Retry-After" in shown:
        after_s = int(shown["Retry-After"])
        assert all(after_s >= one.retry_after_s for one in denied)
        violated = [left[name] for name, at in zip(left, _first(standings), strict=True) if at.denied]
        assert all(after_s >= one["t"] for one in violated)
    else:
        assert not denied or None in [one.retry_after_s for one in denied]
    for kind in ("requests", "tokens"):
        if f"x-ratelimit-reset-{kind}" in shown:
            assert shown[f"x-ratelimit-limit-{kind}"].isdecimal()
            assert seconds(shown[f"x-ratelimit-reset-{kind}"]) >= 0


def _first(standings):
    """By name in order of first appearance: one that denies if any does."""
    by_name = {}
    for one in standings:
        if one.name not in by_name or (one.denied and not by_name[one.name].denied):
            by_name[one.name] = one
    return by_name.values()


@given(st.floats(0, 1e6))
def test_a_duration_is_never_earlier_than_the_truth(given_s):
    assert given_s - 1e-6 <= seconds(duration(given_s)) <= given_s + 1.001


def test_six_limits_cost_little():
    standings = [standing(name, remaining=7.5, reset_s=12.345) for name in LimitName]
    best_s = min(timeit.repeat(lambda: limit_headers(standings), number=200, repeat=5)) / 200
    assert best_s < 200e-6
