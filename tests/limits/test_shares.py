"""What is known without Redis: the last levels as time changes them, and an instance's share."""

import pytest

from citadel_edge.limits.known import LEASE_MS, Known
from citadel_edge.limits.local_store import share_of
from citadel_edge.limits.values import Answer, Dimension, Level, LimitName, Order, Period, Spent, Verdict

NOW = 1_000_000
TODAY, TOMORROW = Period("2026-11-23", 0, NOW + 1000), Period("2026-11-24", NOW + 1000, NOW + 9000)


def day(limit=100, period=TODAY, **fields):
    return Dimension(subject="u:1", name=LimitName.TOKENS_PER_DAY, limit=limit, period=period, **fields)


RATE = Dimension(subject="u:1", name=LimitName.REQUESTS_PER_MINUTE, limit=60, burst=12)
LEASES = Dimension(subject="u:1", name=LimitName.CONCURRENT, limit=5)


def order(dimension, tokens=0):
    return Order(reservation="res", organisation_id="org_1", dimensions=(dimension,), cost=Spent(1, tokens))


def known_of(dimension, level, most=100):
    known = Known(most)
    known.learn(order(dimension), Answer(Verdict.ADMITTED, NOW, (level,)))
    return known


def test_a_backlog_drains():
    known = known_of(RATE, Level(120_000))
    assert known.level("org_1", RATE, NOW + 1000) == Level(60_000)
    assert known.level("org_1", RATE, NOW + 9000) == Level(0)


def test_leases_are_believed_in_for_a_while():
    known = known_of(LEASES, Level(3))
    assert known.level("org_1", LEASES, NOW + LEASE_MS - 1) == Level(3)
    assert known.level("org_1", LEASES, NOW + LEASE_MS) == Level(0)


def test_a_quota_begins_anew_and_what_it_took_of_top_ups_stays_taken():
    known = known_of(day(), Level(130, 20))
    assert known.level("org_1", day(), NOW) == Level(130, 20)
    assert known.level("org_1", day(period=TOMORROW), NOW + 2000) == Level(0, 50)


def test_a_settlement_here_is_known_at_once():
    known = known_of(day(), Level(90))
    known.settled(order(day(), tokens=50), Spent(1, 10), "")
    assert known.level("org_1", day(), NOW) == Level(50)


def test_what_was_not_asked_for_longest_is_forgotten():
    known = known_of(day(), Level(1), most=1)
    known.learn(order(RATE), Answer(Verdict.ADMITTED, NOW, (Level(1),)))
    assert known.level("org_1", day(), NOW) is None


@pytest.mark.parametrize(
    ("limit", "instances", "share"), [(60, 1, 60), (60, 2, 30), (61, 2, 30), (1, 5, 1), (0, 5, 0), (3, 4, 1)]
)
def test_a_share_is_rounded_down_but_to_one_at_least(limit, instances, share):
    for name in (LimitName.REQUESTS_PER_MINUTE, LimitName.CONCURRENT):
        assert share_of(Dimension(subject="o", name=name, limit=limit), None, instances).limit == share


@pytest.mark.parametrize(
    ("level", "share"), [(None, 60), (Level(0), 60), (Level(90), 15), (Level(119), 1), (Level(120), 0), (Level(500), 0)]
)
def test_a_quota_s_share_is_of_what_was_left(level, share):
    assert share_of(day(extra=20), level, 2).limit == share
    assert share_of(day(extra=20), level, 2).extra == 0
