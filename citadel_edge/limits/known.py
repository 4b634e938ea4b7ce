"""How full limits were when Redis said so last.

Decides what follows from that with time alone: buckets drain, periods end, leases that nobody renews are gone. Refuses
to know what others took since. Bounded; what nobody asked about for longest is forgotten.
"""

from collections import OrderedDict
from typing import Final

from citadel_edge.limits.rules import after_lapse, cost_of, in_later_period, ordinal, settled_cost
from citadel_edge.limits.values import Answer, Dimension, Kind, Level, LimitName, Order, Spent

LEASE_MS: Final = 30_000
"""So long leases are believed in that were seen once."""


class Known:
    """The last levels, by organisation, subject and limit."""

    def __init__(self, most: int = 100_000) -> None:
        self._levels: OrderedDict[tuple[str, str, LimitName], tuple[Dimension, Level, int]] = OrderedDict()
        self._most = most

    def learn(self, order: Order, answer: Answer) -> None:
        """Redis said so."""
        levels, organisation_id, now_ms = self._levels, order.organisation_id, answer.now_ms
        for one, level in zip(order.dimensions, answer.levels, strict=False):
            key = (organisation_id, one.subject, one.name)
            levels[key] = (one, level, now_ms)
            levels.move_to_end(key)
        while len(levels) > self._most:
            levels.popitem(last=False)

    def level(self, organisation_id: str, dimension: Dimension, now_ms: int) -> Level | None:
        """As it should be now; null: nothing is known of it."""
        known = self._levels.get((organisation_id, dimension.subject, dimension.name))
        return None if known is None else _since(known, dimension, now_ms)

    def leases(self, organisation_id: str, dimension: Dimension, now_ms: int) -> int | None:
        """How many were held when Redis said so last; null: that was never, or too long ago to say anything."""
        known = self._levels.get((organisation_id, dimension.subject, dimension.name))
        return None if known is None or now_ms - known[2] >= LEASE_MS else known[1].amount

    def of(self, organisation_id: str, dimensions: tuple[Dimension, ...], now_ms: int) -> tuple[Level, ...]:
        """The levels of several; what nobody knows counts as empty."""
        return tuple(self.level(organisation_id, one, now_ms) or Level(0) for one in dimensions)

    def settled(self, order: Order, spent: Spent, model: str) -> None:
        """What Redis will say of quotas when it has heard of this settlement."""
        for one in order.dimensions:
            if one.period is None:
                continue
            key = (order.organisation_id, one.subject, one.name)
            known = self._levels.get(key)
            if known is None or known[0].period != one.period:
                continue
            dimension, level, at_ms = known
            used = level.amount + settled_cost(one, spent, model) - cost_of(one, order)
            self._levels[key] = dimension, Level(max(0, used), level.taken), at_ms


def _since(known: tuple[Dimension, Level, int], dimension: Dimension, now_ms: int) -> Level:
    then, level, at_ms = known
    passed_ms = max(0, now_ms - at_ms)
    if dimension.kind is Kind.RATE:
        return Level(max(0, level.amount - dimension.limit * passed_ms))
    if dimension.kind is Kind.LEASES:
        return level if passed_ms < LEASE_MS else Level(0)
    level = after_lapse(level, then.limit, dimension.lapsed - then.lapsed)
    if then.period is None or dimension.period is None or ordinal(dimension.period) <= ordinal(then.period):
        return level
    return in_later_period(level, then.limit)
