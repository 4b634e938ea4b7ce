"""Server-Sent Events, both ways: bytes to events whatever the cuts, events to bytes.

The parsing rules are those of WHATWG HTML, section 9.2.6. Decides where an event begins and ends and how big it may
get. Refuses to know what the data mean, where the bytes come from and when a stream is over: `Decoder.pending` says
whether the bytes so far end inside an event, the reader knows whether the connection did.
"""

import re

from msgspec import Struct

BOM = b"\xef\xbb\xbf"
PING = b": ping\n"
DONE = b"data: [DONE]\n\n"
LINE_END = re.compile(rb"\r\n|\r|\n")
DEFAULT_MAX_EVENT_BYTES = 4 * 2**20


class SseError(ValueError):
    """One event is larger than the decoder may hold."""


class Event(Struct, frozen=True, gc=False):
    """One dispatched event.

    A `msgspec.Struct`, because making one costs a seventh of a frozen dataclass and every token is one.

    Attributes:
        data: the data lines joined by a line feed; bytes, as UTF-8 as the sender was.
        event: its type, None for the default.
        id: the `id` field of this very event, None when it has none.
        retry_ms: the `retry` field of this very event.
    """

    data: bytes
    event: str | None = None
    id: str | None = None
    retry_ms: int | None = None


class Decoder:
    """Incremental: the events found do not depend on where the chunks were cut.

    Args:
        max_event_bytes: bound on one line and on one event's data. Past it the events before are still returned,
            then `feed` raises `SseError`, and goes on raising it.
    """

    __slots__ = ("_data", "_error", "_event", "_head", "_held", "_id", "_line", "_max", "_rest", "_retry", "_skip_lf")

    def __init__(self, *, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._head: bytes | None = b""  # what may yet become a byte order mark; None once that is settled
        self._line = bytearray()  # the line not ended yet
        self._skip_lf = False  # the last byte was \r: a \n now belongs to it
        self._error: SseError | None = None
        self._rest = False  # nothing of an event is held: the next chunk may take the short way
        self._data: list[bytes] = []
        self._held = 0
        self._event: str | None = None
        self._id: str | None = None
        self._retry: int | None = None

    @property
    def pending(self) -> bool:
        """Bytes of an unfinished event or line are held: a stream that ends here was torn."""
        fields = (self._event, self._id, self._retry, self._error)
        return bool(self._line or self._data or self._head) or fields != (None, None, None, None)

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes.

        Raises:
            SseError: the event under way is larger than the bound.
        """
        if self._rest and b"\r" not in chunk and len(chunk) <= self._max:
            end = chunk.rfind(b"\n\n")
            if end >= 0:
                return self._feed_whole(chunk, end)
        return self._feed_any(chunk)

    def _feed_whole(self, chunk: bytes, end: int) -> list[Event]:
        """The common case: at rest, line feeds alone, and at least one event ends in this chunk."""
        events: list[Event] = []
        for block in chunk[:end].split(b"\n\n"):
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(Event(block[6:]))
            else:
                self._take_lines([*block.split(b"\n"), b""], events)
        if end + 2 < len(chunk):
            self._take(chunk[end + 2 :], events)
        return events

    def _feed_any(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        if self._error is None:
            chunk = self._without_mark(chunk)
            if self._skip_lf and chunk:
                self._skip_lf = False
                chunk = chunk.removeprefix(b"\n")
            if chunk:
                self._take(chunk, events)
        if self._error is not None and not events:
            raise SseError(*self._error.args)
        return events

    def _without_mark(self, chunk: bytes) -> bytes:
        """Drop a byte order mark at the very start, though it may come in pieces."""
        if self._head is None:
            return chunk
        head = self._head + chunk
        if len(head) < len(BOM) and BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(BOM)

    def _take(self, chunk: bytes, events: list[Event]) -> None:
        lines = chunk.splitlines()  # of bytes: cuts at \n, \r and \r\n only
        if not chunk.endswith((b"\n", b"\r")):
            tail = lines.pop()
        else:
            tail = b""
            self._skip_lf = chunk.endswith(b"\r")
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        self._take_lines(lines, events)
        self._line += tail
        if len(self._line) > self._max:
            self._fail()
        self._rest = self._error is None and not self._skip_lf and not self.pending

    def _take_lines(self, lines: list[bytes], events: list[Event]) -> None:
        for line in lines:
            if not line:
                self._dispatch(events)
            elif len(line) > self._max:
                self._fail()
            else:
                self._take_field(line)
            if self._error is not None:
                return

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._held += len(value) + 1
            if self._held > self._max:
                self._fail()
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace") or None
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self._retry = int(value[:18])  # past 18 digits it is no time any more, and int() has its own bound

    def _dispatch(self, events: list[Event]) -> None:
        """The blank line: an event when there were data lines, nothing otherwise."""
        if self._data:
            events.append(Event(b"\n".join(self._data), self._event, self._id, self._retry))
        self._clear()

    def _clear(self) -> None:
        self._data = []
        self._held = 0
        self._event = self._id = self._retry = None

    def _fail(self) -> None:
        self._error = SseError(f"an event of the stream is larger than {self._max} bytes")
        self._clear()


def encode(event: Event) -> bytes:
    r"""One event with `\n` line ends. Line ends inside the data become one data line each, so `\r` reads back as `\n`.

    Raises:
        ValueError: the type or the id would break the framing (a line end, NUL in the id), or retry is negative.
    """
    lines = [b"data: " + line for line in LINE_END.split(event.data)]
    if event.event is not None:
        lines.insert(0, b"event: " + _one_line(event.event, "event"))
    if event.id is not None:
        lines.insert(0, b"id: " + _one_line(event.id, "id"))
    if event.retry_ms is not None:
        lines.insert(0, b"retry: " + _digits(event.retry_ms))
    return b"\n".join(lines) + b"\n\n"


def data_line(payload: bytes) -> bytes:
    """An event of one data line. `payload` holds no line end; JSON never does."""
    return b"data: " + payload + b"\n\n"


def _one_line(text: str, field: str) -> bytes:
    encoded = text.encode()
    if LINE_END.search(encoded) or b"\0" in encoded:
        raise ValueError(f"the {field} of an event is one line without NUL, got {text!r}")
    return encoded


def _digits(milliseconds: int) -> bytes:
    if milliseconds < 0:
        raise ValueError(f"retry is a time in milliseconds, got {milliseconds}")
    return str(milliseconds).encode()
