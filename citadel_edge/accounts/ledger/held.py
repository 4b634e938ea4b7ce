"""Lines that the disk refused, kept in memory for a while: bounded, oldest first. Refuses to know why."""

from itertools import count, islice
from typing import Final

MAX_HELD: Final = 10_000


class Held:
    """At most `limit` lines, each with a number that names it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: dict[int, bytes] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def half_full(self) -> bool:
        """Time to take no new work: what runs already may still need the other half."""
        return 2 * len(self._lines) >= self._limit

    def add(self, line: bytes) -> bool:
        """Keep a line; False when there is no room for it."""
        if len(self._lines) >= self._limit:
            return False
        self._lines[next(self._numbers)] = line
        return True

    def oldest(self, limit: int) -> dict[int, bytes]:
        """At most `limit` lines by number."""
        return dict(islice(self._lines.items(), limit))

    def remove(self, number: int) -> bool:
        """Let a line go; False when it went before."""
        return self._lines.pop(number, None) is not None
