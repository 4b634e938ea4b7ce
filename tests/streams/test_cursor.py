"""Cursors as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.cursor import EPOCH_ALPHABET, Cursor
from citadel_edge.streams.names import SLOTS, new_epoch, prefix, slot_for, slot_of, stream_id
from citadel_edge.streams.values import Once
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7


@given(st.text(EPOCH_ALPHABET, min_size=1, max_size=32), st.integers(0, 10**15 - 1))
def test_a_cursor_is_read_as_it_was_written(epoch, seq):
    assert Cursor.parse(str(Cursor(epoch, seq))) == Cursor(epoch, seq)


@pytest.mark.parametrize(
    "text", ["", "7", "abc", "abc:", ":7", "abc:-1", "abc:1x", "ABC:1", "a:b:1", "a: 1", "a:\u0661"]
)
def test_what_is_no_cursor_is_refused_by_name(text):
    with pytest.raises(RequestError) as raised:
        Cursor.parse(text, param="Last-Event-ID")
    assert (raised.value.code, raised.value.param) == (Code.INVALID_REQUEST, "Last-Event-ID")


def test_an_epoch_is_eight_letters_and_no_other_has_it():
    epochs = {new_epoch() for _ in range(1000)}
    assert len(epochs) == 1000
    assert all(len(epoch) == 8 and set(epoch) <= set(EPOCH_ALPHABET) for epoch in epochs)


def test_an_id_tells_its_slot():
    uniques = [uuid7(Clock()) for _ in range(64)]
    ids = [stream_id(place % SLOTS, unique) for place, unique in enumerate(uniques)]
    assert len(set(ids)) == 64
    assert [slot_of(stream) for stream in ids] == [place % SLOTS for place in range(64)]
    assert {slot_of(stream) for stream in ("", "str_", "str_x", ids[0] + "0", ids[0].upper())} == {None}
    assert prefix(11) == "citadel:streams:{sb}:"


def test_streams_of_a_process_go_together_for_a_minute_and_are_spread_by_and_by():
    assert len({slot_for(None, salt=3, unix_s=120 + second) for second in range(60)}) == 1
    assert {slot_for(None, salt=3, unix_s=60.0 * minute) for minute in range(16)} == set(range(SLOTS))
    assert {slot_for(None, salt=salt, unix_s=0.0) for salt in range(16)} == set(range(SLOTS))


def test_a_start_that_happens_once_leads_to_one_slot():
    once = Once(key="usr_1:k", body_hash=b"h")
    assert len({slot_for(once, salt=salt, unix_s=60.0 * salt) for salt in range(16)}) == 1
