"""Where a reader of live state begins: now, a little before, or right behind the cursor it came with.

A cursor is `{epoch}:{seq}`: having seen the event that bears it, the reader has all of its topics up to that seq. The
same at every door that has live state.
"""

from typing import Any, Final

from msgspec import Struct

from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.metrics import Resumed
from citadel_edge.telemetry.hub import Hub, Topic

SHORTEST_S: Final = 0.2
LONGEST_S: Final = 60.0
RECENT: Final = 16
"""Of each topic, how many a reader without a cursor is told of the past."""


class Place(Struct, frozen=True, kw_only=True):
    """Where a reader begins.

    Attributes:
        after, recent: as `Hub.subscribe` takes them.
        recovered: whether a reader that came with a cursor has missed nothing; null for one that came without.
        told: what a reader that came with a cursor is told.
    """

    after: int | None = None
    recent: int = RECENT
    recovered: Resumed | None = None
    told: dict[str, Any] = {}


def parse_interval(value: str | float | None, *, name: str = "interval_s") -> float:
    """How often METRICS shall come, in seconds; once a second for null. Raises RequestError, by the door's `name`."""
    if value is None:
        return 1.0
    try:
        every_s = float(value)
    except ValueError:
        every_s = 0.0
    if not SHORTEST_S <= every_s <= LONGEST_S:
        got = repr(value[:40]) if isinstance(value, str) else f"{value:g}"
        words = f"{name} is a number of seconds from {SHORTEST_S:g} to {LONGEST_S:g}, got {got}"
        raise RequestError(Code.INVALID_REQUEST, words, param=name)
    return every_s


def place(hub: Hub, topics: frozenset[Topic], after: str | None) -> Place:
    """Where a reader with this cursor begins: right behind it, or else at whatever is still there.

    Raises:
        RequestError: INVALID_REQUEST, it is no cursor.
    """
    if after is None:
        return Place()
    cursor = Cursor.parse(after)
    if cursor.epoch != hub.epoch:
        return _missed(after, 0, "it is from another process, or from before a restart of this one")
    if cursor.seq > hub.seq:
        return _missed(after, 0, "nothing was published under it yet")
    gone = hub.missing(topics, cursor.seq)
    if gone is None:
        return Place(after=cursor.seq, recovered=Resumed.FULL, told={"recovered": "full", "after": after})
    lost = {"from": _cursor(hub, cursor.seq + 1), "to": _cursor(hub, gone)}
    return _missed(after, cursor.seq, "what came after it is no longer kept", lost=lost)


def _missed(after: str, seq: int, reason: str, *, lost: dict[str, str] | None = None) -> Place:
    told = {"recovered": "none", "after": after, "reason": reason, "lost": lost}
    return Place(after=seq, recovered=Resumed.NONE, told=told)


def _cursor(hub: Hub, seq: int) -> str:
    return str(Cursor(hub.epoch, seq))
