"""Denials that need not be asked again: whoever is over a limit stays so until it drains or its period ends.

Decides which claims are denied without Redis. Leases are given back at any moment and are always asked for. What other
instances give back is not heard of here: so none is believed for longer than `LONGEST_MS`, and those of a subject are
forgotten when something of it is given back here. A changed limit or a top-up makes another limit of it.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from citadel_edge.limits.rules import cost_of, fits, retry_ms, settled_cost
from citadel_edge.limits.values import Answer, Dimension, Kind, Level, LimitName, Order, Spent, Verdict

LONGEST_MS: Final = 5_000


class _Denial(Struct, frozen=True):
    dimension: Dimension
    cost: int
    level: Level
    at_ms: int
    until_ms: int

    def denies(self, dimension: Dimension, cost: int, now_ms: int) -> bool:
        return now_ms < self.until_ms and cost >= self.cost and dimension == self.dimension

    def level_at(self, now_ms: int) -> Level:
        if self.dimension.kind is not Kind.RATE:
            return self.level
        return Level(max(0, self.level.amount - self.dimension.limit * max(0, now_ms - self.at_ms)))


class Denials:
    """The denials of late, by subject. Bounded: of the subject denied longest ago they are forgotten."""

    def __init__(self, most: int = 10_000) -> None:
        self._denials: OrderedDict[tuple[str, str], dict[LimitName, _Denial]] = OrderedDict()
        self._most = most

    def note(self, order: Order, answer: Answer) -> None:
        """Redis denied an order."""
        for one, level in zip(order.dimensions, answer.levels, strict=False):
            cost = cost_of(one, order)
            if one.kind is Kind.LEASES or fits(one, level, cost):
                continue
            wait_ms = retry_ms(one, level, cost, answer.now_ms)
            until_ms = answer.now_ms + (LONGEST_MS if wait_ms is None else min(wait_ms, LONGEST_MS))
            key = (order.organisation_id, one.subject)
            self._denials.setdefault(key, {})[one.name] = _Denial(one, cost, level, answer.now_ms, until_ms)
            self._denials.move_to_end(key)
        while len(self._denials) > self._most:
            self._denials.popitem(last=False)

    def of(self, order: Order, now_ms: int, levels: Callable[[], tuple[Level, ...]]) -> Answer | None:
        """The denial that Redis would answer, with `levels` where nothing better is known; null: it has to be asked."""
        if not self._denials:
            return None
        found: dict[int, Level] = {}
        for place, one in enumerate(order.dimensions):
            denials = self._denials.get((order.organisation_id, one.subject))
            denial = denials.get(one.name) if denials else None
            if denial is not None and denial.denies(one, cost_of(one, order), now_ms):
                found[place] = denial.level_at(now_ms)
        if not found:
            return None
        shown = tuple(found.get(place, level) for place, level in enumerate(levels()))
        return Answer(Verdict.DENIED, now_ms, shown)

    def given_back(self, order: Order, spent: Spent, model: str) -> None:
        """An order took less in the end: its subjects are asked for anew."""
        for one in order.dimensions if self._denials else ():
            if one.kind is not Kind.LEASES and settled_cost(one, spent, model) < cost_of(one, order):
                self._denials.pop((order.organisation_id, one.subject), None)
