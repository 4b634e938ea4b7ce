import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import Uuid7Sequence, request_id, uuid7, valid_request_id


def test_an_id_has_version_7_the_rfc_variant_and_the_time():
    made = Uuid7Sequence().next(1_645_557_742_000)
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 80 == 1_645_557_742_000


@given(st.lists(st.integers(0, 2**47), min_size=2, max_size=50))
def test_ids_rise_whatever_the_calendar_does(times):
    sequence = Uuid7Sequence()
    made = [sequence.next(unix_ms) for unix_ms in times]
    assert all(before < after for before, after in pairwise(made))


def test_a_full_millisecond_borrows_from_the_next():
    sequence = Uuid7Sequence(entropy=lambda size: b"\xff" * size)
    first = sequence.next(5)
    sequence._counter = 2**42 - 1
    second = sequence.next(5)
    assert first < second
    assert second.int >> 80 == 6


def test_threads_never_share_an_id():
    clock, made = Clock(), []
    threads = [threading.Thread(target=lambda: made.extend(uuid7(clock) for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000


def test_request_ids_are_valid_and_in_order_of_time():
    made = [request_id(Clock()) for _ in range(100)]
    assert made == sorted(made)
    assert all(valid_request_id(each) for each in made)


@pytest.mark.parametrize("text", ["a", "req-1.2:3/4", "~" * 128])
def test_visible_ascii_is_taken_over(text):
    assert valid_request_id(text)


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "a\x7f", "é", "a" * 129, "a\x00"])
def test_anything_else_is_not(text):
    assert not valid_request_id(text)
