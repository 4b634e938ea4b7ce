"""How late is late, and how many second calls there may be."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citadel_edge.routing.hedging import MAX_KNOWN, HedgeBudget, HedgeDelay, Quantile

SECONDS = st.floats(0.002, 900)


def weighted(values, quantile=0.95):
    """The value below which `quantile` of the faded weight lies: by sorting, with no cleverness."""
    pairs = sorted((value, (1 + 1 / 1000) ** at) for at, value in enumerate(values))
    target, passed = quantile * math.fsum(weight for _, weight in pairs), 0.0
    for value, weight in pairs:
        passed += weight
        if passed >= target * (1 - 1e-12):
            return value
    raise AssertionError


def told(values):
    quantile = Quantile()
    for value in values:
        quantile.observe(value)
    return quantile.value_s()


@settings(deadline=None, max_examples=200)
@given(st.lists(SECONDS, min_size=1, max_size=400))
def test_it_is_within_a_bucket_of_the_exact_quantile(values):
    assert told(values) == pytest.approx(weighted(values), rel=0.1001)


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.2])
@pytest.mark.parametrize("seed", range(3))
def test_the_error_on_lognormal_times_is_below_a_tenth(sigma, seed):
    chance = random.Random(seed)
    values = [chance.lognormvariate(math.log(0.4), sigma) for _ in range(8_000)]
    exact = weighted(values)
    assert told(values) == pytest.approx(exact, rel=0.03)
    assert exact == pytest.approx(0.4 * math.exp(1.6449 * sigma), rel=0.07 + 0.06 * sigma)  # of the sample itself


def test_a_change_is_followed_and_the_old_fades():
    quantile = Quantile()
    for _ in range(50_000):
        quantile.observe(0.1)
    assert quantile.value_s() == pytest.approx(0.1, rel=0.1)
    for _ in range(100):
        quantile.observe(5.0)
    assert quantile.value_s() == pytest.approx(5.0, rel=0.1)
    for _ in range(5_000):
        quantile.observe(0.1)
    assert quantile.value_s() == pytest.approx(0.1, rel=0.1)


def test_a_very_long_life_loses_no_precision():
    chance, quantile = random.Random(3), Quantile()
    for _ in range(200_000):
        quantile.observe(chance.lognormvariate(0, 0.5))
    assert quantile._below == pytest.approx(math.fsum(quantile._weights[: quantile._at]), rel=1e-6)
    assert quantile.value_s() == pytest.approx(math.exp(1.6449 * 0.5), rel=0.15)


@pytest.mark.parametrize(("seconds", "low", "high"), [(0.0, 0.001, 0.0011), (1e-9, 0.001, 0.0011), (1e9, 900, 1200)])
def test_times_beyond_the_buckets_count_as_the_nearest(seconds, low, high):
    assert low <= told([seconds] * 30) <= high


def test_nothing_is_known_before_twenty():
    delay = HedgeDelay()
    for _ in range(19):
        delay.observe("m", 0.5, stream=True)
    assert delay.delay_s("m", stream=True) is None
    delay.observe("m", 0.5, stream=True)
    assert delay.delay_s("m", stream=True) == pytest.approx(0.5, rel=0.1)


def test_streams_whole_answers_and_models_are_told_apart():
    delay = HedgeDelay()
    for _ in range(30):
        delay.observe("m", 0.2, stream=True)
        delay.observe("m", 8.0, stream=False)
    assert delay.delay_s("m", stream=True) == pytest.approx(0.2, rel=0.1)
    assert delay.delay_s("m", stream=False) == pytest.approx(8.0, rel=0.1)
    assert delay.delay_s("n", stream=True) is None


def test_only_so_many_models_are_known():
    delay = HedgeDelay()
    for number in range(MAX_KNOWN + 5):
        for _ in range(20):
            delay.observe(f"m{number}", 0.5, stream=True)
    assert len(delay._known) == MAX_KNOWN
    assert delay.delay_s("m0", stream=True) is None
    assert delay.delay_s(f"m{MAX_KNOWN + 4}", stream=True) is not None


@given(st.floats(0, 1), st.lists(st.sampled_from("rh"), max_size=300))
def test_hedges_are_at_most_their_share_of_the_requests(share, steps):
    budget, requests, hedges = HedgeBudget(share), 0, 0
    for step in steps:
        if step == "r":
            budget.deposit()
            requests += 1
        else:
            hedges += budget.withdraw()
        assert hedges <= share * requests + 1e-3


def test_five_of_a_hundred_are_hedged_exactly():
    budget = HedgeBudget(0.05)
    hedged = []
    for _ in range(1_000):
        budget.deposit()
        hedged.append(budget.withdraw())
    assert sum(hedged) == 50
    assert hedged.index(True) == 19


def test_a_calm_hour_saves_ten_hedges_up_and_no_more():
    budget = HedgeBudget(0.5)
    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(100)) == 10


def test_the_share_may_change_and_none_is_none():
    budget = HedgeBudget(1.0)
    budget.resize(0.0)
    budget.deposit()
    assert not budget.withdraw()
    budget.resize(1.0)
    budget.deposit()
    assert budget.withdraw()


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_none_and_all(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        HedgeBudget(share)
