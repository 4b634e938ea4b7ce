"""Replicas are drawn as their weights say."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.routing.lots import Lots
from routing.rig import fleet

weights = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12)


def test_each_is_drawn_as_often_as_its_weight_says():
    places, lots = fleet(1, 2, 5).deployments("m"), Lots(Random(1).random)
    drawn = Counter(lots.one(places) for _ in range(8000))
    assert [drawn[at] / 1000 for at in range(3)] == pytest.approx([1, 2, 5], rel=0.15)


def test_a_new_weight_counts_though_the_old_ones_are_remembered():
    table = fleet(1, 1, 1, 1)
    places, lots = table.deployments("m"), Lots(Random(1).random)
    lots.one(places)
    table.rows["u2"].weight = 97.0
    drawn = Counter(lots.one(places) for _ in range(2000))
    assert drawn[2] > 1700
    table.rows["u2"].weight = None
    drawn = Counter(lots.one(places) for _ in range(2000))
    assert drawn[2] < 700


def test_those_of_another_configuration_are_weighed_anew():
    lots = Lots(Random(1).random)
    lots.one(fleet(*[1] * 9).deployments("m"))
    places = fleet(1, 99).deployments("m")
    assert Counter(lots.one(places) for _ in range(500))[1] > 400


@given(weights, st.floats(0, 1, exclude_max=True))
def test_whatever_is_drawn_is_there(shares, luck):
    places, lots = fleet(*shares).deployments("m"), Lots(lambda: luck)
    assert 0 <= lots.one(places) < len(places)
    if len(places) > 1:
        first, second = lots.two(places)
        assert first != second or luck > 0.999
        assert {first, second} <= set(range(len(places)))
