"""The standard's event-stream rules read plainly, the whole stream at once; streams to try them on, and ways to cut.

What `citadel_edge.wire.sse.Decoder` does in pieces, and what other people's readers do, is held against this.
"""

import re
from itertools import pairwise

from hypothesis import strategies as st

from citadel_edge.wire.sse import BOM, Decoder, Event, SseError

LINE_ENDS = (b"\n", b"\r", b"\r\n")
WIDE = "\U0001f680\U00020bb7\U0001d4d0\U0010ffff"  # four bytes each
LOOKALIKES = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # line ends to some libraries, to the standard none


def events_of(stream):
    """The events of a whole stream, by WHATWG HTML 9.2.6. What comes after the last blank line is no event."""
    events, fields = [], {}
    for line in re.split(rb"\r\n|\r|\n", stream.removeprefix(BOM))[:-1]:  # the last one has not ended
        if line:
            _note(fields, line)
            continue
        if "data" in fields:
            data = b"\n".join(fields["data"])
            events.append(Event(data, fields.get("event"), fields.get("id"), fields.get("retry")))
        fields = {}
    return events


def _note(fields, line):
    name, value = re.fullmatch(rb"([^:]*):? ?(.*)", line, re.DOTALL).groups()
    text = value.decode("utf-8", "replace")
    if name == b"data":
        fields.setdefault("data", []).append(value)
    if name == b"event":
        fields["event"] = text or None
    if name == b"id" and "\0" not in text:
        fields["id"] = text
    if name == b"retry" and re.fullmatch(rb"[0-9]+", value):
        fields["retry"] = int(value)


def heard(chunks, **options):
    """What a `Decoder` makes of the chunks: its events, whether one is pending, whether it gave up."""
    decoder, events, failed = Decoder(**options), [], False
    for chunk in (*chunks, b""):  # the last asks for an error that waited behind an event
        try:
            events += decoder.feed(chunk)
        except SseError:
            failed = True
    return events, decoder.pending, failed


def cut(stream, places):
    """The stream in pieces, cut at these places, taken modulo its length."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def bytewise(stream):
    """One byte a piece."""
    return [stream[i : i + 1] for i in range(len(stream))]


cuts = st.lists(st.integers(0, 10_000), max_size=12)
_text = st.text(st.sampled_from("ab :\t\0\ufeff\u00e9\u4e2d" + WIDE + LOOKALIKES), max_size=8).map(str.encode)
_garbage = st.binary(max_size=8).filter(lambda each: not {*each} & {*b"\r\n"})
_names = st.sampled_from([b"data", b"event", b"id", b"retry", b"", b"Data", b"data ", BOM + b"data"])
_values = st.one_of(st.just(b""), _text.map(b": ".__add__), _garbage.map(b":".__add__))
_retries = st.integers(0, 10**9).map(b"retry: %d".__mod__)
_lines = st.one_of(st.just(b""), st.builds(bytes.__add__, _names, _values), _retries, _text, st.just(b": ping"))
_ended = st.builds(bytes.__add__, _lines, st.sampled_from(LINE_ENDS))
_heads = st.sampled_from([b"", b"", BOM, BOM * 2, BOM[:2], BOM[:1]])
streams = st.builds(
    lambda head, ended, torn: head + b"".join(ended) + torn, _heads, st.lists(_ended, max_size=12), _lines
)
"""Lines of every sort, each with a line end of its own choice, torn at the end more often than not."""

_names_of_events = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=12)
_data = st.text(st.characters(exclude_characters="\r", codec="utf-8") | st.sampled_from(WIDE + LOOKALIKES), max_size=40)
events = st.builds(
    Event,
    data=_data.map(str.encode),
    event=st.none() | _names_of_events.filter(bool),
    id=st.none() | _names_of_events,
    retry_ms=st.none() | st.integers(0, 10**9),
)
"""What `encode` takes and a reader gets back as it was: data without a carriage return."""
