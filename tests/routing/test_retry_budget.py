"""How many retries there may be, in any window."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citadel_edge.routing.retry_budget import RetryBudget

STEPS = st.lists(st.tuples(st.floats(0, 4), st.sampled_from(("request", "retry", "retry"))), max_size=300)


def withdrawn(budget, now, wanted=10_000):
    return sum(budget.withdraw(now) for _ in range(wanted))


def test_a_quiet_service_has_the_reserve():
    budget = RetryBudget()
    assert budget.balance(5.0) == 100
    assert withdrawn(budget, 5.0) == 100
    assert budget.balance(5.0) == 0


def test_five_requests_pay_for_one_retry():
    budget = RetryBudget(per_second=0)
    for _ in range(4):
        budget.deposit(1.0)
    assert not budget.withdraw(1.0)
    budget.deposit(1.0)
    assert withdrawn(budget, 1.0) == 1


def test_parts_of_a_retry_add_up_without_rounding():
    budget = RetryBudget(share=0.1, per_second=0)
    for _ in range(1_000):
        budget.deposit(1.0)
    assert withdrawn(budget, 1.0) == 100


def test_what_was_paid_in_counts_for_ten_seconds():
    budget = RetryBudget(per_second=0)
    for _ in range(50):
        budget.deposit(100.0)
    assert [budget.balance(now) for now in (100.0, 109.9, 110.9, 200.0)] == [10, 10, 0, 0]


@pytest.mark.parametrize("silence", [10, 11, 15, 20, 1000])
def test_a_silence_empties_every_slot(silence):
    budget = RetryBudget(per_second=0)
    for second in range(20):
        for _ in range(5):
            budget.deposit(float(second))
    assert budget.balance(19.0) == 10
    assert budget.balance(19.0 + silence) == 0
    assert budget._window == [0] * 10


def test_what_was_taken_out_counts_for_ten_seconds():
    budget = RetryBudget(per_second=1)
    assert withdrawn(budget, 100.0) == 10
    assert [budget.balance(now) for now in (109.9, 111.0)] == [0, 10]


def test_a_retry_storm_is_held_to_the_share():
    """Every one of 100 requests a second fails: a fifth of them and the reserve may be made again."""
    budget, retries = RetryBudget(), 0
    for tick in range(6_000):
        now = tick / 100
        budget.deposit(now)
        retries += budget.withdraw(now)
    assert 0.2 * 6_000 <= retries <= 0.2 * 6_000 + 10 * 60 + 100


def test_without_a_share_the_reserve_remains():
    budget = RetryBudget(share=0)
    for _ in range(1_000):
        budget.deposit(1.0)
    assert withdrawn(budget, 1.0) == 100


def test_long_silence_costs_no_more_than_a_short_one():
    budget = RetryBudget()
    budget.deposit(1.0)
    assert budget.balance(1e9) == 100


@pytest.mark.parametrize("wrong", [{"share": -0.1}, {"per_second": -1}, {"ttl_s": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="retry budget"):
        RetryBudget(**wrong)


@settings(deadline=None)
@given(STEPS, st.sampled_from((0.0, 0.2, 1.0)), st.sampled_from((0.0, 0.5, 10.0)))
def test_no_window_sees_more_retries_than_its_share_and_the_reserve(steps, share, per_second):
    budget, now, requests, retries = RetryBudget(share=share, per_second=per_second), 0.0, [], []
    for pause, kind in steps:
        now += pause
        if kind == "request":
            budget.deposit(now)
            requests.append(now)
        elif budget.withdraw(now):
            retries.append(now)
            window = now - 10.0  # the slots that count reach back at most so far, and at least nine tenths of it
            paid = sum(1 for at in requests if at > window)
            recent = sum(1 for at in retries if at > window + 1.0)
            assert recent <= share * paid + per_second * 10 + 1e-6


@settings(deadline=None)
@given(STEPS)
def test_the_balance_says_how_many_may_follow(steps):
    budget, now = RetryBudget(per_second=0.3), 0.0
    for pause, kind in steps:
        now += pause
        if kind == "request":
            budget.deposit(now)
        else:
            budget.withdraw(now)
    assert budget.balance(now) == withdrawn(budget, now)


@settings(deadline=None)
@given(STEPS)
def test_the_sum_is_the_windows(steps):
    budget, now = RetryBudget(), 0.0
    for pause, kind in steps:
        now += pause
        (budget.deposit if kind == "request" else budget.withdraw)(now)
        assert budget._sum == sum(budget._window)
