"""What is said to the log, and what it answers. Plain values."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from citadel_edge.streams.values import Begun, Origin, Owner, Policy, Terminal


class Head(Struct, frozen=True, kw_only=True):
    """What stays the same of a stream."""

    origin: Origin
    owner: Owner
    policy: Policy
    v: int = 1


class Epochs(Struct, frozen=True):
    """The present epoch, and all whose cursors are good, with the last event up to which they are (None: all)."""

    now: str
    known: dict[str, int | None]


class Record(Struct, frozen=True, kw_only=True):
    """What is known of a stream besides its events."""

    head: Head
    epochs: Epochs
    first: int
    last: int
    stop: bool
    begun: Begun | None
    reservations: tuple[str, ...]
    terminal: Terminal | None


class LastWord(StrEnum):
    """What a producer says instead of an end: another is to go on, or the stream has never been."""

    GIVEN_UP = "g"
    DISCARDED = "d"


class Words(Struct, frozen=True, kw_only=True):
    """What one stream has to say: events from `first` on, and what is new about it besides."""

    stream: str
    fence: int
    first: int = 0
    payloads: Sequence[bytes] = ()
    epochs: Epochs | None = None
    begun: Begun | None = None
    reservations: tuple[str, ...] | None = None
    terminal: Terminal | None = None
    last_word: LastWord | None = None


class Heard(Struct, frozen=True):
    """What the log answered to its producer.

    Attributes:
        code: see the constants.
        first, last: the events that the log has.
        stop: somebody wants it to stop.
        followed_ms: for how long somebody follows it elsewhere, unless they say so again.
    """

    code: int
    first: int
    last: int
    stop: bool
    followed_ms: int


HEARD: Final = 1
FENCED: Final = -1
MISSING: Final = -2
GAP: Final = -3


class Part(Struct, frozen=True):
    """Events of the log, and how it is. `payloads` begin with the event `start`."""

    epochs: Epochs
    first: int
    last: int
    terminal: Terminal | None
    start: int
    payloads: list[bytes]


class Start(Struct, frozen=True):
    """What became of a new stream. `stream` is another id if the same start began it; None: a start of another kind.

    `fenced`: the stream is another's by now.
    """

    stream: str | None
    fenced: bool = False


class Taken(Struct, frozen=True):
    """A stream whose producer died. In `doubt` the log may lack events that were in it once.

    `alone_s`: for how long nobody has gone on with it; `asked_s`: when it was asked for (monotonic).
    """

    stream: str
    fence: int
    doubt: bool
    alone_s: float
    asked_s: float
