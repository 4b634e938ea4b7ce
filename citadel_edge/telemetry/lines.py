"""How one log line looks: JSON with timestamp, level, event, listener first; or the same for a person at a terminal.

Decides the form, the bound on a line's length, and that making a line never fails. Refuses to know where it is written.
"""

from typing import Any, Final

import msgspec
from structlog.dev import ConsoleRenderer
from structlog.processors import format_exc_info
from structlog.typing import EventDict, WrappedLogger

from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.redaction import redact

_MAX_LINE_BYTES: Final = 64 * 2**10
_CUT_TO: Final = 8 * 2**10


class Lines:
    """Makes JSON lines. `render` is the last structlog processor of every logger."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._encode = msgspec.json.Encoder(enc_hook=repr).encode

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
        return self._clock.now().isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"

    def _json(self, head: dict[str, Any], fields: EventDict) -> bytes:
        try:
            line = self._encode({**head, **_presentable(fields)})
        except Exception as error:  # noqa: BLE001 - a value that cannot be written must not break the one who logs
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
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__ is worth a line, not a failure
        text = f"<{type(value).__name__} without repr>"
    return text[:1000].encode(errors="backslashreplace").decode()


class Pretty:
    """A JSON line for human eyes."""

    def __init__(self, *, colors: bool) -> None:
        self._renderer = ConsoleRenderer(colors=colors, sort_keys=False)

    def __call__(self, line: bytes) -> bytes:
        """The line as columns of text, an exception below it."""
        fields: dict[str, Any] = msgspec.json.decode(line)
        text = self._renderer(None, fields["level"], fields)
        return f"{text}\n".encode()
