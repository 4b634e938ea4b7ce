"""What an order takes of a limit, whether that fits, and when it will. Pure; whole numbers only.

The script on Redis decides by the same rules; `gcra.Book` and the clients' numbers are made of these functions.

- RATE: a bucket that drains. Its backlog is counted in unit-milliseconds, units times 60,000, and drains by the limit
  each millisecond. A cost fits if the backlog stays within the burst; a cost over the burst needs an empty bucket. So
  no 60 s see more than the limit and the larger of the burst and the largest cost that was admitted.
- LEASES: one is free while fewer than the limit are held.
- CALENDAR: units used in the period may reach the limit, and behind it what is left of top-ups. When one ends, what was
  used of top-ups until then counts as its own, as far as it goes: the others have that much more.
"""

from typing import Final

from citadel_edge.limits.values import MINUTE_MS, MOST_NANO_USD, Dimension, Kind, Level, Order, Period, Spent

DAY_MS: Final = 86_400_000
LONGEST_TTL_MS: Final = DAY_MS
"""No reservation lives longer without being renewed."""
FINAL_MS: Final = 600_000
"""So long a final reservation's id is remembered, so that it is not taken twice."""
SETTLED_MS: Final = 60_000
"""So long the id of one that was settled is, and as long as it would have lived: whoever made it may not know yet."""
SLACK_MS: Final = 10_000
"""Behind that life: what was sent at its end arrives later."""
FORGETS_OTHERS: Final = "00"
"""With the settlement of every 256th reservation, one whose id ends so, ids whose time is over are forgotten."""
LATE_MS: Final = 3_600_000
"""So long one that expired may be settled after it was swept."""
SWEPT_BY_EACH: Final = 2
"""So many reservations of its organisation that are due are seen to with each order."""

MOST_UNITS: Final = 5 * 10**10
MOST_BACKLOG: Final = MOST_UNITS * MINUTE_MS
"""Where costs, backlogs and counters end, so that every sum stays below 2**53, which Lua's numbers hold exactly."""


def bounded(spent: Spent) -> Spent:
    """As much of it as is counted."""
    return Spent(min(spent.requests, MOST_UNITS), min(spent.tokens, MOST_UNITS), min(spent.nano_usd, MOST_NANO_USD))


def takes_leases(order: Order) -> bool:
    """A final order takes none: nobody would give them back."""
    return order.leases and order.ttl_ms > 0


def cost_of(dimension: Dimension, order: Order) -> int:
    """Units that an order takes of a limit."""
    if dimension.kind is Kind.LEASES:
        return 1 if takes_leases(order) else 0
    return bounded(order.cost).of(dimension.unit)


def settled_cost(dimension: Dimension, spent: Spent, model: str) -> int:
    """Units that `spent` leaves taken. What another model served takes nothing of a limit for one model alone."""
    if dimension.model and model and dimension.model != model:
        return 0
    return bounded(spent).of(dimension.unit)


def ordinal(period: Period) -> int:
    """Days, and months, in their order: `2026-11-23` is 20261123."""
    return int(period.id.replace("-", ""))


def is_present(period: Period, now_ms: int) -> bool:
    """Whether it is now."""
    return period.start_ms <= now_ms < period.end_ms


def room_of(dimension: Dimension, taken: int) -> int:
    """CALENDAR: units of top-ups that stand behind the limit, when `taken` of them are (see `Level`)."""
    return max(0, dimension.extra - taken)


def over(level: Level, limit: int) -> int:
    """CALENDAR: units of the period's use that are of top-ups."""
    return max(0, level.amount - limit)


def in_later_period(level: Level, limit: int) -> Level:
    """CALENDAR: how a period that ends at `level` leaves the next one."""
    return Level(0, max(0, level.taken + over(level, limit)))


def after_lapse(level: Level, limit: int, units: int) -> Level:
    """CALENDAR: the same when top-ups of so many units have ended."""
    taken = max(level.taken, -over(level, limit))
    return Level(level.amount, taken - min(taken + over(level, limit), max(0, units)))


def fits(dimension: Dimension, level: Level, cost: int) -> bool:
    """Whether a limit at `level` allows `cost` units more."""
    if cost <= 0:
        return True
    if dimension.kind is Kind.RATE:
        more = cost * MINUTE_MS
        return dimension.limit > 0 and level.amount + more <= max(dimension.burst * MINUTE_MS, more)
    return level.amount + cost <= dimension.limit + room_of(dimension, level.taken)


def retry_ms(dimension: Dimension, level: Level, cost: int, now_ms: int) -> int | None:
    """Milliseconds until `cost` units fit if nobody else takes any; None: nobody knows, or never under this plan.

    A lease is given back when its request ends: nobody knows.
    """
    if fits(dimension, level, cost):
        return 0
    if dimension.kind is Kind.RATE:
        return _drained_ms(dimension, level.amount - max(0, dimension.burst - cost) * MINUTE_MS)
    if dimension.period is None or cost > dimension.limit + _room_of_the_next(dimension, level):
        return None
    return max(0, dimension.period.end_ms - now_ms)


def _room_of_the_next(dimension: Dimension, level: Level) -> int:
    """CALENDAR: the room when the next period begins."""
    then = in_later_period(after_lapse(level, dimension.limit, dimension.lapsing), dimension.limit)
    return max(0, room_of(dimension, then.taken) - dimension.lapsing)


def reset_ms(dimension: Dimension, level: Level, now_ms: int) -> int:
    """Milliseconds until a limit is wholly free again; 0 where no time does that."""
    if dimension.kind is Kind.RATE:
        return _drained_ms(dimension, level.amount) or 0
    return max(0, dimension.period.end_ms - now_ms) if dimension.period is not None else 0


def _drained_ms(dimension: Dimension, backlog: int) -> int | None:
    return -(-backlog // dimension.limit) if dimension.limit > 0 else None
