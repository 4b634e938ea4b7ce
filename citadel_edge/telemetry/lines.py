"""How one log line looks: JSON with timestamp, level, event, listener first; or the same for a person at a terminal.

Decides the form, the bound on a line's length, and that making a line never fails. Refuses to know where it is written.
"""

import reprlib
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from structlog.dev import ConsoleRenderer
from structlog.processors import format_exc_info
from structlog.typing import EventDict, WrappedLogger

from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.redaction import redact

_MAX_LINE_BYTES: Final = 64 * 2**10
_CUT_TO: Final = 8 * 2**10
_SHORT: Final = 1000

# Keys that are no texts, lone surrogates, integers beyond 64 bits, structures that hold themselves.
_UNWRITABLE: Final = (TypeError, ValueError, ArithmeticError, RecursionError)


class Lines:
    """Makes JSON lines. `render` is the last structlog processor of every logger."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = 0, "1970-01-01T00:00:00"
        self._encode = msgspec.json.Encoder(enc_hook=_short_repr).encode

    def render(
        self, _logger: WrappedLogger, level: str, fields: EventDict
    ) -> tuple[tuple[bytes, str | None], EventDict]:
        """What the output's method is called with: the redacted line with its newline, the listener it is bound to."""
        listener = _name(fields.pop("listener", None))
        head = {"timestamp": self._timestamp(), "level": level, "event": fields.pop("event", "")}
        if listener is not None:
            head["listener"] = listener
        return (redact(self._json(head, fields)) + b"\n", listener), {}

    def _timestamp(self) -> str:
        """ISO 8601 in UTC with milliseconds; the part down to the second is made once a second."""
        unix_s = self._clock.unix_s()
        second = int(unix_s)
        known, prefix = self._second
        if known != second:
            prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second, prefix
        return f"{prefix}.{int(unix_s % 1 * 1000):03d}Z"

    def _json(self, head: dict[str, Any], fields: EventDict) -> bytes:
        try:
            line = self._encode({**head, **_presentable(fields)})
        except _UNWRITABLE as error:
            line = self._encode(_plain(head) | {"unwritable": repr(type(error))} | _plain(fields))
        return line if len(line) <= _MAX_LINE_BYTES else self._cut(head, line)

    def _cut(self, head: dict[str, Any], line: bytes) -> bytes:
        start = redact(line)[:_CUT_TO].decode(errors="replace")
        return self._encode(_plain(head) | {"cut_from_bytes": len(line), "start": start})


def _presentable(fields: EventDict) -> EventDict:
    if "exc_info" in fields:
        fields = format_exc_info(None, "", fields)
    if bytes in map(type, fields.values()):  # they would be written as base64, where no secret is recognised
        fields = {name: repr(value) if type(value) is bytes else value for name, value in fields.items()}
    return fields


def _name(listener: object) -> str | None:
    return None if listener is None else str(listener)


def _plain(fields: EventDict) -> dict[str, str]:
    return {str(name): _short_repr(value) for name, value in fields.items()}


def _short_repr(value: object) -> str:
    """Never fails, and never calls a `__repr__` that does: `reprlib` says of such only what they are."""
    short = reprlib.Repr()
    short.maxother = short.maxstring = short.maxlong = _SHORT
    text = value[:_SHORT] if isinstance(value, str) else short.repr(value)
    return text.encode(errors="backslashreplace").decode()


class Pretty:
    """A JSON line for human eyes."""

    def __init__(self, *, colors: bool) -> None:
        self._renderer = ConsoleRenderer(colors=colors, sort_keys=False)

    def __call__(self, line: bytes) -> bytes:
        """The line as columns of text, an exception below it."""
        fields: dict[str, Any] = msgspec.json.decode(line)
        text = self._renderer(None, fields["level"], fields)
        return f"{text}\n".encode()
