"""What another Redis process may have missed of what this instance was told is done.

Looks again and again at who takes the writes and how far each one's data went, and remembers how many writes had been
answered by then. A promoted replica says how much it had of the data of the one before: whatever was answered before a
look that it covers, it has. Decides how much may be lost at most. Refuses to know what is done about it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from citadel_edge.storage.redis_roll_call import Primary

MOST_LOOKS: Final = 256


@dataclass(frozen=True, slots=True)
class Loss:
    """What may be lost, at most.

    Attributes:
        writes: so many of the last ones that were answered to this instance; null: nobody knows, perhaps all.
        of_the_last_s: the time in which these were answered; null as before.
    """

    writes: int | None
    of_the_last_s: float | None


@dataclass(frozen=True, slots=True)
class _Look:
    writes: int
    at_s: float
    primaries: dict[bytes, Primary]


class Looks:
    """Who was there, look by look."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque(maxlen=MOST_LOOKS)

    def __bool__(self) -> bool:
        return bool(self._looks)

    def look(self, present: Iterable[Primary], *, writes: int, now_s: float) -> Loss | None:
        """What another process in the place of one that has gone may have missed; null: there is none such.

        `writes` had been answered before those present were asked. A cluster that only grows or shrinks loses nothing;
        where one does not say who it is, nothing is known anew.
        """
        look = _Look(writes, now_s, {one.run_id: one for one in present})
        if b"" in look.primaries:
            return None
        before = self._looks[-1].primaries if self._looks else {}
        gone = [one for one in before.values() if one.run_id not in look.primaries]
        new = [one for one in look.primaries.values() if one.run_id not in before]
        kept = [self._covered(one, new) for one in gone] if new else []
        self._looks.append(look)
        known = [one for one in kept if one is not None]
        if not kept:
            return None
        if len(known) < len(kept):
            return Loss(None, None)
        oldest = min(known, key=lambda one: one.at_s)
        return Loss(writes - oldest.writes, now_s - oldest.at_s)

    def _covered(self, gone: Primary, new: Sequence[Primary]) -> _Look | None:
        """The latest look whose writes all reached the one that has its data now."""
        heir = next((one for one in new if one.inherited == gone.history), None)
        return None if heir is None else next(filter(partial(_is_covered, gone, heir), reversed(self._looks)), None)


def _is_covered(gone: Primary, heir: Primary, look: _Look) -> bool:
    then = look.primaries.get(gone.run_id)
    return then is not None and then.history == heir.inherited and then.offset <= heir.inherited_offset
