"""What was granted without Redis and is over: what Redis has to be told, once, when it is back.

Decides how much that is. Of a calendar limit all that was spent; of a rate what would not have drained in the meantime.
Calendar units are summed up by their limits, so that an outage of any length is a few orders a user. Reservations that
are still open are handed over one by one and do not count here.
"""

from msgspec import Struct

from citadel_edge.limits.open_reservations import reservation_id
from citadel_edge.limits.rules import cost_of, is_present, settled_cost
from citadel_edge.limits.values import MINUTE_MS, Dimension, Kind, LimitName, Order, Spent, Unit
from citadel_edge.telemetry.clock import Clock

_Calendars = tuple[str, tuple[Dimension, ...]]
_Rate = tuple[str, str, LimitName]


class _Backlog(Struct):
    dimension: Dimension
    amount: int
    at_ms: int

    def drain(self, now_ms: int) -> int:
        self.amount = max(0, self.amount - self.dimension.limit * max(0, now_ms - self.at_ms))
        self.at_ms = now_ms
        return self.amount


class Owed:
    """The sum since it was told last."""

    def __init__(self) -> None:
        self._used: dict[_Calendars, Spent] = {}
        self._rates: dict[_Rate, _Backlog] = {}

    def __bool__(self) -> bool:
        return bool(self._used) or bool(self._rates)

    def took(self, order: Order, now_ms: int) -> None:
        """An order was granted without Redis."""
        for one in order.dimensions:
            self._add(order.organisation_id, one, cost_of(one, order), now_ms)

    def spent(self, order: Order, spent: Spent, model: str, now_ms: int) -> None:
        """It was settled without Redis."""
        for one in order.dimensions:
            self._add(order.organisation_id, one, settled_cost(one, spent, model) - cost_of(one, order), now_ms)
        counted = tuple(
            one for one in order.dimensions if one.kind is Kind.CALENDAR and (not model or one.model in ("", model))
        )
        if counted:
            key = order.organisation_id, counted
            self._used[key] = _sum(self._used.get(key), spent)

    def handed_over(self, order: Order, now_ms: int) -> None:
        """It is still open and Redis will be told of it by itself."""
        for one in order.dimensions:
            self._add(order.organisation_id, one, -cost_of(one, order), now_ms)

    def tidy(self, now_ms: int) -> None:
        """Forget rates that have drained, in a long outage."""
        self._rates = {key: rate for key, rate in self._rates.items() if rate.drain(now_ms)}

    def orders(self, now_ms: int, clock: Clock) -> list[Order]:
        """All of it as final orders, each to be carried out once; from now on nothing is owed."""
        used, rates, self._used, self._rates = self._used, self._rates, {}, {}
        calendars = [
            _final(organisation_id, tuple(one for one in counted if _counts(one, now_ms)), spent, clock)
            for (organisation_id, counted), spent in used.items()
        ]
        backlogs = [
            _final(organisation_id, (rate.dimension,), _units(rate.dimension, rate.drain(now_ms)), clock)
            for (organisation_id, _, _), rate in rates.items()
        ]
        return [order for order in (*calendars, *backlogs) if order.dimensions and any(_takes(order))]

    def _add(self, organisation_id: str, dimension: Dimension, more: int, now_ms: int) -> None:
        if dimension.kind is not Kind.RATE or not more:
            return
        key = organisation_id, dimension.subject, dimension.name
        rate = self._rates.setdefault(key, _Backlog(dimension, 0, now_ms))
        rate.drain(now_ms)
        rate.dimension, rate.amount = dimension, max(0, rate.amount + more * MINUTE_MS)


def _sum(one: Spent | None, other: Spent) -> Spent:
    if one is None:
        return other
    return Spent(one.requests + other.requests, one.tokens + other.tokens, one.nano_usd + other.nano_usd)


def _counts(dimension: Dimension, now_ms: int) -> bool:
    return dimension.period is not None and is_present(dimension.period, now_ms)


def _units(dimension: Dimension, backlog: int) -> Spent:
    units = -(-backlog // MINUTE_MS)
    return Spent(0, units) if dimension.unit is Unit.TOKENS else Spent(units)


def _final(organisation_id: str, dimensions: tuple[Dimension, ...], spent: Spent, clock: Clock) -> Order:
    return Order(
        reservation=reservation_id(organisation_id, clock),
        organisation_id=organisation_id,
        dimensions=dimensions,
        cost=spent,
        ttl_ms=0,
        leases=False,
        force=True,
    )


def _takes(order: Order) -> list[int]:
    return [cost_of(one, order) for one in order.dimensions]
