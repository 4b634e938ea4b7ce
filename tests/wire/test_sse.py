"""What a transcript says, what is refused, and where the bounds are. Cuts and line ends at large: `test_sse_cuts`."""

import pytest

from citadel_edge.wire.sse import BOM, DONE, PING, Decoder, Event, SseError, data_line, encode
from wire.sse_model import bytewise, cut

TRANSCRIPT = (
    BOM
    + b": a comment\n"
    + 'data: {"text":"\u00e4\u4e2d\U0001f680"}\n\n'.encode()
    + b"event: done\r\nid: 1:2\r\nretry: 250\r\ndata: one\r\ndata: two\r\n\r\n"
    + b"\n\n: only a comment\n\n"
    + b"data:no space\rdata:  two spaces\r\r"
    + b"event: dropped\n\n"
    + b"data\n\ndata:\ndata:\n\nunknown: x\nid\ndata: y\n\n"
    + PING
    + DONE
)
EVENTS = [
    Event('{"text":"\u00e4\u4e2d\U0001f680"}'.encode()),
    Event(b"one\ntwo", event="done", id="1:2", retry_ms=250),
    Event(b"no space\n two spaces"),
    Event(b""),
    Event(b"\n"),
    Event(b"y", id=""),
    Event(b"[DONE]"),
]


def decoded(chunks, **options):
    decoder = Decoder(**options)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events, decoder.pending


def test_a_transcript_with_every_line_end_reads_as_the_standard_says():
    assert decoded([TRANSCRIPT]) == (EVENTS, False)


@pytest.mark.parametrize("place", range(len(TRANSCRIPT) + 1))
def test_two_chunks_cut_anywhere_give_the_same_events(place):
    assert decoded([TRANSCRIPT[:place], TRANSCRIPT[place:]]) == (EVENTS, False)


def test_one_byte_at_a_time_gives_the_same_events():
    assert decoded(bytewise(TRANSCRIPT)) == (EVENTS, False)


def test_line_ends_inside_data_become_data_lines():
    assert encode(Event(b"a\r\nb\rc\n")) == b"data: a\ndata: b\ndata: c\ndata: \n\n"


@pytest.mark.parametrize("event", [Event(b"", event="a\nb"), Event(b"", id="a\rb"), Event(b"", id="\0")])
def test_a_field_that_would_break_the_framing_is_refused(event):
    with pytest.raises(ValueError, match="one line"):
        encode(event)


def test_a_negative_retry_is_refused():
    with pytest.raises(ValueError, match="milliseconds"):
        encode(Event(b"", retry_ms=-1))


def test_data_line_is_encode_for_one_line():
    assert data_line(b"{}") == encode(Event(b"{}"))


@pytest.mark.parametrize(
    "torn", [b"data: half", b"data: no blank line\n", b"event: x\n", b"id\n", b"retry: 1\n", b": ha"]
)
def test_a_stream_that_ends_inside_an_event_is_pending(torn):
    assert decoded([DONE, torn])[1] is True


@pytest.mark.parametrize(
    "whole", [b"", DONE, PING, DONE + PING, b"data: x\r\r", b"data: x\r\n\r", BOM, b"event: x\n\n"]
)
def test_a_stream_that_ends_between_events_is_not_pending(whole):
    assert decoded([whole])[1] is False


def test_retry_that_is_no_number_and_id_with_nul_are_ignored():
    assert decoded([b"retry: 1s\nid: a\0b\ndata: x\n\n"]) == ([Event(b"x")], False)


@pytest.mark.parametrize("place", range(0, 140, 7))
def test_an_event_past_the_bound_fails_after_the_events_before_it(place):
    stream = b"data: small\n\n" + b"data: " + b"x" * 100 + b"\n\n" + b"data: never\n\n"
    decoder = Decoder(max_event_bytes=64)
    got = []

    def feed_all():
        for chunk in (*cut(stream, [place]), b""):
            got.extend(decoder.feed(chunk))

    with pytest.raises(SseError, match="64 bytes"):
        feed_all()
    assert got == [Event(b"small")]
    with pytest.raises(SseError):
        decoder.feed(b"data: x\n\n")


def test_the_bound_counts_the_data_lines_of_one_event_together():
    with pytest.raises(SseError):
        decoded([b"data: 0123456789\n"] * 7, max_event_bytes=64)


def test_a_line_without_end_is_bounded_also_when_it_is_a_comment():
    with pytest.raises(SseError):
        decoded([b": " + b"x" * 40] * 2, max_event_bytes=64)


def test_heartbeats_without_end_never_reach_the_bound():
    decoder = Decoder(max_event_bytes=64)
    for _ in range(1_000):
        assert decoder.feed(PING) == []
    assert decoder.feed(DONE) == [Event(b"[DONE]")]


def test_a_large_event_in_tiny_chunks_takes_linear_time():
    stream = b"data: " + b"x" * 300_000 + b"\n\n"
    assert decoded(bytewise(stream)) == ([Event(b"x" * 300_000)], False)
