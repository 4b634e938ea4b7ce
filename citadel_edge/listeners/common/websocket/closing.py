"""How a WebSocket ends: codes that protocols spell each in their own way, and the answer to a client's close frame.

Refuses to know why a connection ends: whoever ends it says so.
"""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

LONGEST_REASON: Final = 123
"""Bytes that RFC 6455 leaves for a reason beside its code."""
_DONE: Final = 1000
_PROTOCOL_ERROR: Final = 1002
_NEVER_SENT: Final = frozenset({1004, 1005, 1006})
_REGISTERED: Final = range(1000, 1015)
_FREE: Final = range(3000, 5000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """The codes with which a protocol says why this side ends a connection.

    Attributes:
        slow: the client took nothing for too long, or never ended a message.
        draining: the process goes: come back, to another instance or to its next life.
        overloaded: the listener may not hold what the client is sending.
        key_ended: the key was revoked, or its user suspended.
        silent: the client answered no ping.
    """

    slow: int
    draining: int = 1001
    overloaded: int = 1013
    key_ended: int = 4403
    silent: int = 4499


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A close frame of ours."""

    code: int
    reason: str

    @property
    def message(self) -> bytes:
        """The reason, cut to what fits into the frame."""
        return self.reason.encode()[:LONGEST_REASON].decode(errors="ignore").encode()


async def answer_close(socket: web.WebSocketResponse, code: int) -> None:
    """Answer a close frame with its own code, or with 1002 when it must not stand in one; 0: it had none."""
    await socket.close(code=_answer_to(code), drain=False)


def _answer_to(code: int) -> int:
    if code == 0:
        return _DONE
    sendable = code in _FREE or (code in _REGISTERED and code not in _NEVER_SENT)
    return code if sendable else _PROTOCOL_ERROR
