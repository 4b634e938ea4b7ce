"""Where a reader stands in a stream: `{epoch}:{seq}`, the same on every transport. Pure.

Events of a stream are counted from 1; `seq` is the last one that was read. The epoch says which count that is: it
changes when events were lost, and events that were shown before they were safe have one of their own, so that a cursor
never means other events than those its reader has seen. Refuses to know which epochs are good.
"""

import re
from typing import Final

from msgspec import Struct

from citadel_edge.errors import Code, RequestError

EPOCH_CHARS: Final = 8
EPOCH_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_CURSOR: Final = re.compile(r"([0-9a-z]{1,32}):([0-9]{1,15})", re.ASCII)


class Cursor(Struct, frozen=True):
    """After the event `seq` of an epoch; 0 is before the first."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str, *, param: str = "after") -> "Cursor":
        """The cursor that a client sent.

        Raises:
            RequestError: INVALID_REQUEST, naming `param`.
        """
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise RequestError(
                Code.INVALID_REQUEST, "a cursor is <epoch>:<number>, as the id of an event of the stream", param=param
            )
        return cls(match[1], int(match[2]))
