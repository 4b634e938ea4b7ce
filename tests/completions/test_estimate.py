"""Estimates that learn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.completions.estimate import FIRST_LENGTH, OutputLengths, TokenRatios


def test_the_first_guess_is_four_bytes_a_token() -> None:
    assert TokenRatios().estimate("m", prompt_bytes=400) == 100
    assert TokenRatios().estimate("m", prompt_bytes=0) == 1


def test_it_learns_from_counted_requests_model_by_model() -> None:
    ratios = TokenRatios()
    for _ in range(200):
        ratios.observe("chinese", prompt_bytes=300, tokens=200)
    assert ratios.estimate("chinese", prompt_bytes=3000) == pytest.approx(2000, rel=0.05)
    assert ratios.estimate("other", prompt_bytes=4000) == 1000


def test_a_long_prompt_tells_more_than_many_short_ones() -> None:
    ratios = TokenRatios()
    for _ in range(50):
        ratios.observe("m", prompt_bytes=60, tokens=20)  # mostly what a template adds
    for _ in range(3):
        ratios.observe("m", prompt_bytes=15000, tokens=3000)
    assert ratios.estimate("m", prompt_bytes=15000) == pytest.approx(3000, rel=0.1)


def test_one_odd_request_does_not_turn_it() -> None:
    ratios = TokenRatios()
    for _ in range(50):
        ratios.observe("m", prompt_bytes=4000, tokens=1000)
    ratios.observe("m", prompt_bytes=10**9, tokens=1)
    assert 800 < ratios.estimate("m", prompt_bytes=4000) <= 1000


@given(pairs=st.lists(st.tuples(st.integers(-5, 10**9), st.integers(-5, 10**9))), size=st.integers(0, 10**9))
def test_estimates_stay_positive_and_within_reason(pairs: list[tuple[int, int]], size: int) -> None:
    ratios = TokenRatios()
    for prompt_bytes, tokens in pairs:
        ratios.observe("m", prompt_bytes=prompt_bytes, tokens=tokens)
    assert 1 <= ratios.estimate("m", prompt_bytes=size) <= max(1, 2 * size)


def told(model: str, *lengths: int, max_tokens: int | None = None) -> OutputLengths:
    known = OutputLengths()
    for tokens in lengths:
        known.observe(model, max_tokens=max_tokens, tokens=tokens)
    return known


def test_the_first_guess_at_an_answer_is_bounded_by_what_was_asked_for() -> None:
    assert OutputLengths().expected("m") == FIRST_LENGTH
    assert OutputLengths().expected("m", 16) == 16
    assert OutputLengths().expected("m", 16, n=3) == 48
    assert OutputLengths().p90("m") > FIRST_LENGTH
    assert OutputLengths().p90("m", 16) == 16


def test_lengths_are_learned_model_by_model() -> None:
    known = told("chatty", *[900] * 300)
    assert known.expected("chatty") == pytest.approx(900, rel=0.05)
    assert known.expected("other") == FIRST_LENGTH


def test_who_sets_a_small_bound_is_told_apart_from_who_sets_none() -> None:
    known = told("m", *[800] * 200)
    for _ in range(200):
        known.observe("m", max_tokens=16, tokens=2)
    assert known.expected("m", 16) <= 3
    assert known.expected("m") == pytest.approx(800, rel=0.15)
    assert known.expected("m", 100) <= 100  # never asked with such a bound


def test_nine_of_ten_stay_within_the_p90() -> None:
    lengths = [10 * number for number in range(1, 101)] * 5
    known = told("m", *lengths)
    assert 800 <= known.p90("m") <= 1024
    assert known.expected("m") == pytest.approx(505, rel=0.1)


def test_what_is_new_counts_and_what_is_old_fades() -> None:
    known = told("m", *[100] * 3000, *[1000] * 1500)
    assert known.expected("m") > 900


def test_choices_share_what_was_counted() -> None:
    known = OutputLengths()
    for _ in range(200):
        known.observe("m", max_tokens=None, tokens=400, n=4)
    assert known.expected("m") == pytest.approx(100, rel=0.1)
    assert known.expected("m", n=4) == pytest.approx(400, rel=0.1)


def test_lengths_of_models_that_come_and_go_are_bounded() -> None:
    known = OutputLengths()
    for number in range(3000):
        known.observe(f"m{number}", max_tokens=None, tokens=5000)
    assert known.expected("m0") == FIRST_LENGTH
    assert known.expected("m2999") > FIRST_LENGTH


def test_the_error_of_an_estimate_is_a_ratio() -> None:
    assert OutputLengths.error_ratio(predicted=200, tokens=100) == 2
    assert OutputLengths.error_ratio(predicted=0, tokens=0) == 1


observations = st.tuples(st.integers(-2, 10**7), st.none() | st.integers(0, 10**6), st.integers(-1, 8))


@given(seen=st.lists(observations, max_size=50), max_tokens=st.none() | st.integers(0, 10**6), n=st.integers(1, 8))
def test_an_expected_length_is_at_least_one_and_within_the_bound(
    seen: list[tuple[int, int | None, int]], max_tokens: int | None, n: int
) -> None:
    known = OutputLengths()
    for tokens, bound, choices in seen:
        known.observe("m", max_tokens=bound, tokens=tokens, n=choices)
    expected, most = known.expected("m", max_tokens, n=n), known.p90("m", max_tokens, n=n)
    assert 1 <= expected <= most
    assert max_tokens is None or most <= max(1, n * max_tokens)
