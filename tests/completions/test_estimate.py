"""Estimates that learn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.completions.estimate import TokenRatios


def test_the_first_guess_is_four_bytes_a_token() -> None:
    assert TokenRatios().estimate("m", prompt_bytes=400) == 100
    assert TokenRatios().estimate("m", prompt_bytes=0) == 1


def test_it_learns_from_counted_requests_model_by_model() -> None:
    ratios = TokenRatios()
    for _ in range(200):
        ratios.observe("chinese", prompt_bytes=300, tokens=200)
    assert ratios.estimate("chinese", prompt_bytes=3000) == pytest.approx(2000, rel=0.05)
    assert ratios.estimate("other", prompt_bytes=4000) == 1000


def test_one_odd_request_does_not_turn_it() -> None:
    ratios = TokenRatios()
    for _ in range(50):
        ratios.observe("m", prompt_bytes=4000, tokens=1000)
    ratios.observe("m", prompt_bytes=10**9, tokens=1)
    assert 200 < ratios.estimate("m", prompt_bytes=4000) <= 1000


@given(pairs=st.lists(st.tuples(st.integers(-5, 10**9), st.integers(-5, 10**9))), size=st.integers(0, 10**9))
def test_estimates_stay_positive_and_within_reason(pairs: list[tuple[int, int]], size: int) -> None:
    ratios = TokenRatios()
    for prompt_bytes, tokens in pairs:
        ratios.observe("m", prompt_bytes=prompt_bytes, tokens=tokens)
    assert 1 <= ratios.estimate("m", prompt_bytes=size) <= max(1, 2 * size)
