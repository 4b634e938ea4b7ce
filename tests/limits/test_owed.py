"""What Redis has to be told after an outage."""

import pytest

from citadel_edge.limits.owed import Owed
from citadel_edge.limits.values import Dimension, LimitName, Order, Period, Spent
from citadel_edge.telemetry.clock import Clock

NOW = 1_000_000
DAY = Dimension(subject="u:1", name=LimitName.TOKENS_PER_DAY, limit=100, period=Period("2026-11-23", 0, NOW + 10_000))
USD = Dimension(subject="u:1", name=LimitName.USD_PER_MONTH, limit=100, period=Period("2026-11", 0, NOW + 90_000))
OF_A_MODEL = Dimension(
    subject="u:1:m:big",
    name=LimitName.TOKENS_PER_DAY,
    limit=9,
    period=Period("2026-11-23", 0, NOW + 10_000),
    model="big",
)
RATE = Dimension(subject="u:1", name=LimitName.TOKENS_PER_MINUTE, limit=60_000, burst=60_000)
LEASES = Dimension(subject="u:1", name=LimitName.CONCURRENT, limit=5)


def order(*dimensions, **cost):
    return Order(reservation="res", organisation_id="org_1", dimensions=dimensions, cost=Spent(**cost))


def told(owed, now_ms=NOW):
    return {
        (one.subject, one.name.value): made.cost.of(one.unit)
        for made in owed.orders(now_ms, Clock())
        for one in made.dimensions
    }


def test_quotas_of_all_that_was_settled_are_summed_up():
    owed = Owed()
    for spent in (Spent(1, 10, 3), Spent(1, 20, 4)):
        owed.spent(order(DAY, USD, LEASES, tokens=50), spent, "", NOW)
    made = owed.orders(NOW, Clock())
    assert len(made) == 1
    assert (made[0].cost, made[0].ttl_ms, made[0].force, made[0].leases) == (Spent(2, 30, 7), 0, True, False)
    assert made[0].dimensions == (DAY, USD)
    assert not owed


def test_what_another_model_served_is_not_owed_to_a_model_s_limit():
    owed = Owed()
    owed.spent(order(DAY, OF_A_MODEL, tokens=50), Spent(1, 10), "small", NOW)
    owed.spent(order(DAY, OF_A_MODEL, tokens=50), Spent(1, 20), "big", NOW)
    made = owed.orders(NOW, Clock())
    assert sorted((len(one.dimensions), one.cost.tokens) for one in made) == [(1, 10), (2, 20)]


def test_a_period_that_is_over_is_owed_nothing():
    owed = Owed()
    owed.spent(order(DAY, USD, tokens=50), Spent(1, 10, 3), "", NOW)
    assert told(owed, NOW + 10_000) == {("u:1", "usd_per_month"): 3}


@pytest.mark.parametrize(("after_ms", "left"), [(0, 700), (100, 600), (699, 1), (700, None), (10_000, None)])
def test_a_rate_is_owed_what_has_not_drained(after_ms, left):
    owed = Owed()
    one = order(RATE, tokens=1000)
    owed.took(one, NOW)
    owed.spent(one, Spent(1, 700), "", NOW)
    assert told(owed, NOW + after_ms).get(("u:1", "tokens_per_minute")) == left


def test_what_is_still_open_is_told_by_itself():
    owed = Owed()
    done, open_ = order(RATE, DAY, tokens=1000), order(RATE, DAY, tokens=400)
    for one in (done, open_):
        owed.took(one, NOW)
    owed.spent(done, Spent(1, 50), "", NOW)
    owed.handed_over(open_, NOW)
    assert told(owed) == {("u:1", "tokens_per_minute"): 50, ("u:1", "tokens_per_day"): 50}


def test_every_order_has_an_id_of_its_organisation():
    owed = Owed()
    owed.spent(order(DAY, tokens=5), Spent(1, 10), "", NOW)
    assert owed.orders(NOW, Clock())[0].reservation.startswith("res_1_")


def test_rates_that_have_drained_are_forgotten():
    owed = Owed()
    owed.took(order(RATE, tokens=10), NOW)
    assert owed
    owed.tidy(NOW + 1000)
    assert not owed
