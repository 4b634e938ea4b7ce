"""Where a reader begins that comes with a cursor. Pure.

A reader goes on exactly behind its cursor, or it begins with the first event there is and is told so: nothing between.
"""

from collections.abc import Mapping
from typing import Final

from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.values import Recovered, Recovery

_FOREIGN: Final = -1


def begin(
    after: Cursor | None, *, known: Mapping[str, int | None], floor: int, last: int, over: bool
) -> tuple[int, Recovery]:
    """After which event reading begins, and what became of the cursor.

    Args:
        after: the cursor; None reads from the first event on.
        known: epochs whose cursors are good, with the last event up to which they are (None: all).
        floor: the first event there is.
        last: the last one.
        over: there will be no more; then the end has the number behind the last event.
    """
    before = floor - 1
    if after is None:
        return before, Recovery(Recovered.NONE, (1, before)) if before else Recovery(Recovered.FULL)
    bound = known.get(after.epoch, _FOREIGN)
    most = last if bound is None else min(bound, last)
    if over and after.seq == last + 1 and most == last:
        return last, Recovery(Recovered.FULL)
    if after.seq > most:
        return before, Recovery(Recovered.NONE)
    if after.seq < before:
        return before, Recovery(Recovered.NONE, (after.seq + 1, before))
    return after.seq, Recovery(Recovered.FULL)
