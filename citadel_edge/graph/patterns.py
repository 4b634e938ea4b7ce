"""Which operations cost most: a bounded table of them by count, cost, time and errors, for the operator's report.

Operations that differ in literals alone are one pattern; a pattern keeps no literal. The table holds the commonest: a
pattern that is new to a full one takes the place and the count of the rarest (Space-Saving, Metwally et al. 2005), so
that one counted more often than the table's share of all is never missing, and `over` says by how much a count may be
too high. Pure.
"""

import heapq
from dataclasses import dataclass, field

from citadel_edge.graph.operations import Operation

Key = tuple[str, str | None]


@dataclass(slots=True)
class Pattern:
    """What was counted of one pattern since `over` others had its place. Seconds are of execution."""

    name: str | None
    hash: str
    kind: str
    text: str
    count: int = 0
    over: int = 0
    errors: int = 0
    cost: float = 0.0
    highest_cost: float = 0.0
    seconds: float = 0.0
    slowest_s: float = 0.0


@dataclass(slots=True)
class Patterns:
    """The table. `runs`: how many were counted since it was begun."""

    size: int = 500
    runs: int = 0
    _rows: dict[Key, Pattern] = field(default_factory=dict)
    _rarest: list[tuple[int, int, Key]] = field(default_factory=list)
    _pushed: int = 0

    def count(self, operation: Operation, *, cost: float, seconds: float, failed: bool) -> None:
        """One more run of an operation."""
        self.runs += 1
        row = self._row(operation)
        row.count += 1
        row.errors += failed
        row.cost += cost
        row.seconds += seconds
        row.highest_cost = max(row.highest_cost, cost)
        row.slowest_s = max(row.slowest_s, seconds)

    def top(self, number: int, *, by: str = "count") -> list[Pattern]:
        """The first patterns by `count`, `cost`, `seconds`, `errors`, `highest_cost` or `slowest_s`."""
        return heapq.nlargest(number, self._rows.values(), key=lambda row: getattr(row, by))

    def rows(self) -> list[Pattern]:
        """All of them; they go on growing."""
        return list(self._rows.values())

    def begin_anew(self) -> list[Pattern]:
        """Empty the table; answers its rows, which do not grow any more."""
        rows = self.rows()
        self._rows.clear()
        self._rarest.clear()
        self.runs = 0
        return rows

    def _row(self, operation: Operation) -> Pattern:
        key = (operation.shape.hash, operation.name)
        found = self._rows.get(key)
        if found is None:
            inherited = self._make_room()
            found = Pattern(operation.name, operation.shape.hash, operation.kind.value, operation.shape.text)
            found.count = found.over = inherited
            self._rows[key] = found
            self._push(key, inherited)
        return found

    def _make_room(self) -> int:
        """The count that a new pattern begins with: that of the rarest, whose place it takes in a full table."""
        if len(self._rows) < self.size:
            return 0
        while True:
            seen, _, key = heapq.heappop(self._rarest)
            count = self._rows[key].count
            if seen == count:
                del self._rows[key]
                return count
            self._push(key, count)

    def _push(self, key: Key, count: int) -> None:
        """What stands in the heap is what was counted when it was pushed: never more than now."""
        self._pushed += 1
        heapq.heappush(self._rarest, (count, self._pushed, key))
