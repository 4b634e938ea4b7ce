"""How a WebSocket ends: the codes that clients may count on, and the answer to a client's own close frame.

Refuses to know why a connection ends: whoever ends it says so.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from aiohttp import web

LONGEST_REASON: Final = 123
"""Bytes that RFC 6455 leaves for a reason beside its code."""
_NEVER_SENT: Final = frozenset({1004, 1005, 1006})
_REGISTERED: Final = range(1000, 1015)
_FREE: Final = range(3000, 5000)


class Close(IntEnum):
    """The codes this side closes with, beside RFC 6455's own for broken frames (1002, 1007) and huge ones (1009)."""

    DONE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    OVERLOADED = 1013
    KEY_ENDED = 4403
    SLOW = 4408
    SILENT = 4499

    @property
    def meaning(self) -> str:
        """What a client makes of it."""
        return _MEANINGS[self]


_RESUME: Final = "the reason may be `resume <stream> <cursor>`: the stream read last, and how far"
_MEANINGS: Final = {
    Close.DONE: "the client closed",
    Close.GOING_AWAY: f"the process drains: come back, to another instance or to this one; {_RESUME}",
    Close.PROTOCOL_ERROR: "frames that are none",
    Close.OVERLOADED: "the listener may not hold what the client is sending: come back in a moment",
    Close.KEY_ENDED: "the key was revoked, or its user suspended: do not come back with it",
    Close.SLOW: f"the client took nothing for too long, or never ended a message; {_RESUME}",
    Close.SILENT: "the client answered no ping",
}


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A close frame of ours."""

    code: Close
    reason: str

    @property
    def message(self) -> bytes:
        """The reason, cut to what fits into the frame."""
        return self.reason.encode()[:LONGEST_REASON].decode(errors="ignore").encode()


async def answer_close(socket: web.WebSocketResponse, code: int) -> None:
    """Answer a close frame with its own code, or with PROTOCOL_ERROR when it must not stand in one; 0: it had none."""
    await socket.close(code=_answer_to(code), drain=False)


def _answer_to(code: int) -> int:
    if code == 0:
        return Close.DONE
    sendable = code in _FREE or (code in _REGISTERED and code not in _NEVER_SENT)
    return code if sendable else Close.PROTOCOL_ERROR
