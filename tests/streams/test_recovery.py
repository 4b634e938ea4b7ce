"""What becomes of a cursor."""

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.recovery import begin
from citadel_edge.streams.values import Recovered, Recovery

FULL = Recovery(Recovered.FULL)
NONE = Recovery(Recovered.NONE)


def at(after, known=None, floor=1, last=10, *, over=False):
    return begin(after, known=known or {"now": None}, floor=floor, last=last, over=over)


def test_every_cursor_up_to_the_last_event_is_recovered_in_full():
    assert [at(Cursor("now", seq)) for seq in range(11)] == [(seq, FULL) for seq in range(11)]


def test_without_a_cursor_reading_begins_with_the_first_event():
    assert at(None) == (0, FULL)
    assert at(None, floor=4) == (3, Recovery(Recovered.NONE, (1, 3)))


def test_a_future_event_and_a_foreign_epoch_are_not_recovered():
    assert at(Cursor("now", 11)) == (0, NONE)
    assert at(Cursor("other", 3)) == (0, NONE)


def test_events_that_were_let_go_are_named():
    assert at(Cursor("now", 2), floor=6) == (5, Recovery(Recovered.NONE, (3, 5)))
    assert at(Cursor("now", 5), floor=6) == (5, FULL)


def test_an_earlier_epoch_is_good_as_far_as_its_events_are_these():
    known = {"old": 4, "now": None}
    assert at(Cursor("old", 4), known) == (4, FULL)
    assert at(Cursor("old", 5), known) == (0, NONE)


def test_the_end_has_a_cursor_of_its_own_once_it_is_there():
    assert at(Cursor("now", 11), over=True) == (10, FULL)
    assert at(Cursor("now", 12), over=True) == (0, NONE)
    assert at(Cursor("old", 11), {"old": 4, "now": None}, over=True) == (0, NONE)


@given(st.integers(0, 30), st.integers(1, 20), st.integers(0, 20), st.sampled_from(["now", "old", "foreign"]))
def test_a_full_recovery_misses_and_repeats_nothing(seq, floor, more, epoch):
    last = floor - 1 + more
    start, recovery = at(Cursor(epoch, seq), {"now": None, "old": 7}, floor, last)
    assert floor - 1 <= start <= last
    if recovery.recovered is Recovered.FULL:
        assert start == seq
    else:
        assert start == floor - 1
    if recovery.lost:
        assert recovery.lost == (seq + 1, floor - 1)
