"""The codes that `citadel.v1` closes with: clients may count on them, and the published schema explains them."""

from enum import IntEnum
from typing import Final

from citadel_edge.listeners.common.websocket.closing import Codes


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


CODES: Final = Codes(
    slow=Close.SLOW,
    draining=Close.GOING_AWAY,
    overloaded=Close.OVERLOADED,
    key_ended=Close.KEY_ENDED,
    silent=Close.SILENT,
)
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
