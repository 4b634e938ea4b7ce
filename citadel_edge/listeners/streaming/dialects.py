"""How a stream's events look to a client: data alone, as OpenAI's SDKs want it, or with cursors to come back by. Pure.

`openai`: each event is `data:`, the end is `[DONE]`, and what went wrong an error object without it. No ids: SDKs that
take an id for a sign of something else must never see one. A loss has no spelling there but an error, and is the end.
`resumable`: each event has its cursor as its id, and the end is an event of its own name with what the answer took.
Decides nothing but spelling.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.values import Batch, Info, Recovery, State, Terminal
from citadel_edge.wire.openai import error_body, error_type
from citadel_edge.wire.sse import DONE, data_line

HEADER: Final = "X-Citadel-Dialect"
_LOST: Final = "lost"
_READ_ANEW: Final = "Read the stream anew, in the dialect resumable, for all that is kept of it."
RETRY_MS: Final = 1000
"""How soon a client comes back. Told on the first event: a field without data is an event that some SDKs choke on."""


class Dialect(StrEnum):
    """The two ways to spell a stream."""

    OPENAI = "openai"
    RESUMABLE = "resumable"

    @classmethod
    def named(cls, name: str | None, default: "Dialect") -> "Dialect":
        """By its name in the header; the default for none.

        Raises:
            RequestError: INVALID_REQUEST, an unknown one.
        """
        if name is None:
            return default
        try:
            return cls(name.strip().lower())
        except ValueError:
            known = " or ".join(cls)
            raise RequestError(Code.INVALID_REQUEST, f"{HEADER} is {known}, got {name[:40]!r}", param=HEADER) from None


class Script:
    """One reader's stream, piece by piece as bytes."""

    __slots__ = ("_dialect", "_retry")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._retry = b"retry: %d\n" % RETRY_MS if dialect is Dialect.RESUMABLE else b""

    def recovered(self, info: Info, recovery: Recovery) -> bytes:
        """Whether a reader that came back misses something, and what."""
        told: dict[str, Any] = {"recovered": recovery.recovered.value, "stream": info.id}
        if recovery.lost is not None:
            told["lost"] = list(recovery.lost)
        return self._named("recovered", told)

    def batch(self, batch: Batch) -> bytes:
        """All that came: what is missing before it, the events, and the end if this is it."""
        if self.breaks_at(batch):
            return self._broken(batch)
        lost = b"" if batch.lost is None else self._lost(*batch.lost)
        end = b"" if batch.terminal is None else self._end(batch, batch.terminal)
        return lost + self._events(batch) + end

    def breaks_at(self, batch: Batch) -> bool:
        """Whether nothing more can be said: text behind a hole would look like the whole answer."""
        return self._dialect is Dialect.OPENAI and batch.lost is not None

    def moved(self, cursor: Cursor) -> bytes:
        """The process goes, the stream lives: come back with this cursor."""
        return self._named("moved", {"after": str(cursor)})

    def ended(self, code: Code, message: str) -> bytes:
        """The connection ends before the stream, for a reason of ours."""
        return data_line(error_body(message, type=error_type(code.status), code=code.text, param=None))

    def _events(self, batch: Batch) -> bytes:
        payloads = batch.payloads
        if not payloads:
            return b""
        if self._dialect is Dialect.OPENAI:
            return b"data: " + b"\n\ndata: ".join(payloads) + b"\n\n"
        epoch = batch.epoch.encode()
        parts = [b"id: %b:%d\ndata: %b\n\n" % (epoch, seq, data) for seq, data in enumerate(payloads, batch.first)]
        return self._once() + b"".join(parts)

    def _lost(self, first: int, last: int) -> bytes:
        return self._named(_LOST, {"lost": [first, last]})

    def _broken(self, batch: Batch) -> bytes:
        first, last = batch.lost or (batch.first, batch.last)
        message = f"Events {first} to {last} are lost to this reader. What was sent is not the whole answer."
        error_name = error_type(Code.INTERNAL.status)
        return data_line(error_body(f"{message} {_READ_ANEW}", type=error_name, code=_LOST, param=None))

    def _end(self, batch: Batch, terminal: Terminal) -> bytes:
        """The terminal record has a number of its own, behind all events: who has it has everything."""
        if self._dialect is Dialect.RESUMABLE:
            return b"id: %b:%d\n" % (batch.epoch.encode(), batch.last + 1) + self._named(
                terminal.outcome.value, told(terminal)
            )
        return DONE if terminal.outcome is State.DONE else b"data: %b\n\n" % _ENCODER.encode(failure(terminal))

    def _named(self, name: str, data: dict[str, Any]) -> bytes:
        if self._dialect is Dialect.OPENAI:
            return b""
        return self._once() + b"event: %b\ndata: %b\n\n" % (name.encode(), _ENCODER.encode(data))

    def _once(self) -> bytes:
        retry, self._retry = self._retry, b""
        return retry


def told(terminal: Terminal) -> dict[str, Any]:
    """What every client is told of an end, whatever the transport."""
    facts: dict[str, Any] = {
        "outcome": terminal.outcome.value,
        "usage": terminal.usage,
        "cost_usd": terminal.cost_usd,
        "attempts": terminal.attempts,
    }
    if terminal.error is not None:
        facts["error"] = terminal.error
    if terminal.tokens_saved is not None:
        facts["tokens_saved"] = terminal.tokens_saved
    return facts


def failure(terminal: Terminal) -> dict[str, Any]:
    """An end that is none, as OpenAI's error object."""
    if terminal.error is not None:
        return {"error": terminal.error}
    code = Code.UPSTREAM_ERROR
    message = f"The generation was {terminal.outcome.value}. What was sent is not the whole answer."
    detail = {"message": message, "type": error_type(code.status), "param": None, "code": terminal.outcome.value}
    return {"error": detail}


_ENCODER: Final = msgspec.json.Encoder()
