"""Every split, every line end, every width of a character: the events are the standard's, wherever the cuts fall."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.wire.sse import BOM, PING, Event, encode
from wire.sse_model import LINE_ENDS, LOOKALIKES, WIDE, bytewise, cut, cuts, events, events_of, heard, streams

SPECIMEN = BOM + f"id: {WIDE[0]}\nevent: \u4e2d\ndata: {WIDE[:2]}\ndata\n\n: ping\nretry: 7\ndata:a\n\n".encode()
SPOKEN = [Event(f"{WIDE[:2]}\n".encode(), event="\u4e2d", id=WIDE[0]), Event(b"a", retry_ms=7)]


def ended(stream, ends):
    r"""The stream with other line ends, the given ones in turn; a lone \r and the next line's \n never become one."""
    lines, out = stream.split(b"\n"), b""
    for n, line in enumerate(lines[:-1]):
        end = ends[n % len(ends)]
        joins = not line and end == b"\n" and out.endswith(b"\r")
        out += line + (b"\r\n" if joins else end)
    return out + lines[-1]


@pytest.mark.parametrize("ends", [(end,) for end in LINE_ENDS] + [LINE_ENDS, LINE_ENDS[::-1], (b"\r", b"\r\n")])
def test_three_chunks_cut_anywhere_give_the_same_events(ends):
    stream = ended(SPECIMEN, ends)
    assert heard([stream]) == heard(bytewise(stream)) == (SPOKEN, False, False)
    wrong = [pair for pair in combinations(range(len(stream)), 2) if heard(cut(stream, pair))[0] != SPOKEN]
    assert wrong == []


@given(stream=streams, places=cuts)
def test_any_stream_says_what_the_standard_says_however_it_is_cut(stream, places):
    whole = heard([stream])
    assert whole[0] == events_of(stream)
    assert heard(cut(stream, places)) == whole
    assert heard(bytewise(stream)) == whole


@given(stream=streams, places=cuts, bound=st.integers(1, 24))
def test_where_a_stream_is_too_large_does_not_depend_on_the_cuts(stream, places, bound):
    whole = heard([stream], max_event_bytes=bound)
    assert heard(cut(stream, places), max_event_bytes=bound) == whole
    assert heard(bytewise(stream), max_event_bytes=bound) == whole
    assert whole[0] == events_of(stream)[: len(whole[0])]
    assert whole[2] or whole[0] == events_of(stream)


@given(
    sent=st.lists(events, max_size=6), ends=st.lists(st.sampled_from(LINE_ENDS), min_size=1, max_size=5), places=cuts
)
def test_what_is_encoded_reads_back_under_any_mixture_of_line_ends(sent, ends, places):
    stream = ended(b"".join(PING + encode(event) for event in sent), ends)
    assert heard(cut(stream, places)) == (sent, False, False)
    assert events_of(stream) == sent


@pytest.mark.parametrize("field", ["data", "event", "id"])
@pytest.mark.parametrize("character", [*WIDE, *LOOKALIKES, "\u00e9", "\u4e2d", "\ufeff"])
def test_a_character_survives_a_cut_at_each_of_its_bytes(field, character):
    sent = Event(**{"data": b"x", field: character.encode() if field == "data" else character})
    stream = encode(sent) + encode(Event(b"next"))
    for place in range(len(stream)):
        assert heard(cut(stream, [place]))[0] == [sent, Event(b"next")]


@pytest.mark.parametrize("head", [BOM, BOM + b"\n", b"\n", BOM + BOM, b": " + BOM + b"\n", BOM[:2] + b"\n", b""])
@pytest.mark.parametrize("end", LINE_ENDS)
def test_one_mark_at_the_very_start_is_dropped_and_every_other_is_text(head, end):
    stream = ended(head + b"data: x\n\ndata: " + BOM + b"\n\n", [end])
    assert events_of(stream)[-1] == Event(BOM)
    for place in range(len(stream)):
        assert heard(cut(stream, [place]))[0] == events_of(stream)


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_a_line_may_be_as_long_as_the_bound_and_no_longer(end, spare):
    bound = 200_000
    data = (WIDE * bound).encode()[: bound - len(b"data: ") + spare]
    stream = b"data: small" + end * 2 + b"data: " + data + end * 2 + b"data: after" + end * 2
    fits = spare <= 0
    spoken = [Event(b"small"), Event(data), Event(b"after")] if fits else [Event(b"small")]
    for size in (1_000, 65_536, bound - 1, len(stream)):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert heard(pieces, max_event_bytes=bound) == (spoken, not fits, not fits)
