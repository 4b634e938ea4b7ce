"""How far a reading is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.fleet.gauges import Gauges, Reading

FULL = Reading(running=8, waiting=2, kv=0.99)


def test_nothing_read_is_nothing_said() -> None:
    gauges = Gauges()
    assert (gauges.foreign(0.0), gauges.pressure(0.0)) == (0.0, 1.0)


def test_others_load_is_what_is_there_less_our_own() -> None:
    gauges = Gauges()
    gauges.read(FULL, now=0.0, own_in_flight=4)
    assert gauges.foreign(0.0) == 6.0
    gauges.read(FULL, now=0.0, own_in_flight=40)
    assert gauges.foreign(0.0) == 0.0


@pytest.mark.parametrize(
    ("kv", "pressure"), [(None, 1.0), (0.0, 1.0), (0.8, 1.0), (0.9, 1.5), (1.0, 2.0), (7.0, 2.0), (-1.0, 1.0)]
)
def test_pressure_rises_as_the_cache_fills(kv: float | None, pressure: float) -> None:
    gauges = Gauges()
    gauges.read(Reading(1, 0, kv), now=0.0, own_in_flight=0)
    assert gauges.pressure(0.0) == pytest.approx(pressure)


def test_a_reading_that_grows_old_loses_its_weight() -> None:
    gauges = Gauges()
    gauges.read(FULL, now=100.0, own_in_flight=2)
    assert gauges.foreign(105.0) == pytest.approx(4.0)
    assert gauges.foreign(110.0) == 0.0
    assert gauges.pressure(105.0) == pytest.approx(1.475)


def test_gauges_that_stand_still_while_the_work_moves_are_no_more_believed() -> None:
    gauges = Gauges()
    for second in range(21):
        gauges.read(FULL, now=float(second), own_in_flight=0)
        gauges.worked(second + 0.5)
    assert gauges.foreign(20.5) < 10 / 15
    assert gauges.pressure(20.5) < 1.07


def test_requests_that_stand_still_are_believed_less_although_no_work_is_given() -> None:
    gauges = Gauges()
    for second in range(21):
        gauges.read(FULL, now=float(second), own_in_flight=0)
    assert gauges.foreign(0.0) == 10.0
    assert gauges.foreign(5.0) == 5.0
    assert gauges.foreign(20.0) == 0.0


def test_a_cache_that_stands_still_while_nothing_happens_is_believed() -> None:
    gauges = Gauges()
    for second in range(21):
        gauges.read(Reading(0, 0, 1.0), now=float(second), own_in_flight=0)
    assert gauges.pressure(20.0) == 2.0


def test_no_more_is_believed_than_a_replica_has_places() -> None:
    gauges = Gauges()
    gauges.read(Reading(250, 400), now=0.0, own_in_flight=3, places=16)
    assert gauges.foreign(0.0) == 16.0


def test_a_change_is_believed_again_at_once() -> None:
    gauges = Gauges()
    for second in range(21):
        gauges.read(FULL, now=float(second), own_in_flight=0)
        gauges.worked(second + 0.5)
    gauges.read(Reading(8, 3, 0.99), now=21.0, own_in_flight=0)
    assert gauges.foreign(21.0) == 11.0
    assert gauges.changed_at == 21.0


def test_a_stuck_cache_gauge_is_not_saved_by_requests_that_move() -> None:
    gauges = Gauges()
    for second in range(21):
        gauges.read(Reading(second % 2, 0, 0.99), now=float(second), own_in_flight=0)
        gauges.worked(second + 0.5)
    assert gauges.pressure(20.5) < 1.07
    gauges.read(Reading(7, 0, 0.99), now=21.0, own_in_flight=0)
    assert gauges.foreign(21.0) == 7.0


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 30), st.booleans(), st.integers(0, 99), st.integers(0, 99), st.floats(0, 1)), max_size=30
    ),
    later=st.floats(0, 60),
)
def test_no_reading_ever_says_more_than_it_read(steps: list[tuple[float, bool, int, int, float]], later: float) -> None:
    gauges, now, most, tightest = Gauges(), 0.0, 0, 0.0
    for seconds, works, running, own, kv in steps:
        now += seconds
        if works:
            gauges.worked(now)
        else:
            gauges.read(Reading(running, 0, kv), now=now, own_in_flight=own)
            most, tightest = max(0, running - own), kv
    assert 0.0 <= gauges.foreign(now + later) <= gauges.foreign(now) <= most
    assert 1.0 <= gauges.pressure(now + later) <= gauges.pressure(now) <= (1.0 if tightest <= 0.8 else 2.0)
