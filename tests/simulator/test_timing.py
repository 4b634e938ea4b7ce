"""Arithmetic of speed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.simulator.timing import Timing


def test_prefill_and_decode_in_seconds():
    timing = Timing(first_token_ms=20, prefill_ms=0.5, decode_ms=10)
    assert timing.prefill_s(100, 1) == pytest.approx(0.07)
    assert timing.decode_s(1) == pytest.approx(0.01)


@given(slowdown=st.floats(0, 1), running=st.integers(1, 500))
def test_a_crowd_slows_everybody_down_linearly(slowdown, running):
    timing = Timing(decode_ms=10, batch_slowdown=slowdown)
    assert timing.decode_s(running) == pytest.approx(0.01 * (1 + slowdown * (running - 1)))


def test_the_default_takes_no_time():
    assert (Timing().prefill_s(10_000, 50), Timing().decode_s(50)) == (0, 0)
