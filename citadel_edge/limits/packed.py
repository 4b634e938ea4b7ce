"""An order as the scripts read it: numbers as little-endian doubles, exact for whole numbers below 2**53. Pure.

Behind the order's own eleven numbers stand nine for each limit, then each subject with its model, then `meta`. The
part that comes from the plan is the same for request after request and is made once.
"""

from collections import OrderedDict
from struct import pack, unpack_from
from typing import Final

from msgspec import Struct

from citadel_edge.limits.rules import LONGEST_TTL_MS, bounded, ordinal, takes_leases
from citadel_edge.limits.values import Dimension, Kind, LimitName, Order, Unit

_OWN_NUMBERS: Final = 9
_LIMIT_NUMBERS: Final = 9
FORCED: Final = 1
LEASES: Final = 2
PLACES: Final = {
    LimitName.CONCURRENT: 0,
    LimitName.REQUESTS_PER_MINUTE: 2,
    LimitName.TOKENS_PER_MINUTE: 5,
    LimitName.TOKENS_PER_DAY: 8,
    LimitName.TOKENS_PER_MONTH: 12,
    LimitName.USD_PER_MONTH: 16,
}
"""Where each limit begins in a subject's state; leases have a sorted set of their own."""
_UNITS: Final = {Unit.REQUESTS: 1, Unit.TOKENS: 2, Unit.NANO_USD: 3}


class Plan(Struct, frozen=True):
    """The part of an order that its limits make: its bytes, and what the keys end in."""

    packed: bytes
    states: tuple[str, ...]
    leases: tuple[str, ...]


class Packer:
    """Packs orders, and remembers the plans that it packed of late."""

    def __init__(self, most: int = 10_000) -> None:
        self._plans: OrderedDict[int, tuple[tuple[Dimension, ...], Plan]] = OrderedDict()
        self._most = most

    def plan(self, dimensions: tuple[Dimension, ...]) -> Plan:
        """The plan of these dimensions; of the same tuple it is made once."""
        known = self._plans.get(id(dimensions))
        if known is not None and known[0] is dimensions:
            return known[1]
        made = plan(dimensions)
        self._plans[id(dimensions)] = dimensions, made
        if len(self._plans) > self._most:
            self._plans.popitem(last=False)
        return made


def plan(dimensions: tuple[Dimension, ...]) -> Plan:
    """Pack limits."""
    subjects = {one.subject: one.model for one in dimensions}
    places = {subject: place for place, subject in enumerate(subjects, 1)}
    numbers = [len(dimensions), len(subjects)]
    for one in dimensions:
        numbers += _numbers(one, places[one.subject])
    words = b"".join(_text(subject) + _text(model) for subject, model in subjects.items())
    return Plan(
        pack(f"<{len(numbers)}d", *numbers) + words,
        tuple(f"s:{subject}" for subject in subjects),
        tuple(f"l:{one.subject}" for one in dimensions if one.kind is Kind.LEASES),
    )


def packed(order: Order, limits: Plan) -> bytes:
    """An order's bytes."""
    cost, kept = bounded(order.cost), bounded(order.kept)
    flags = (FORCED if order.force else 0) + (LEASES if takes_leases(order) else 0)
    own = pack(
        "<9d",
        *(flags, min(order.ttl_ms, LONGEST_TTL_MS), order.not_after_ms),
        *(cost.requests, cost.tokens, cost.nano_usd),
        *(kept.requests, kept.tokens, kept.nano_usd),
    )
    return own + limits.packed + order.meta


def own_bytes(order: bytes) -> bytes:
    """The caller's own bytes (`meta`) of a packed order."""
    limits, subjects = unpack_from("<2d", order, 8 * _OWN_NUMBERS)
    place = 8 * (_OWN_NUMBERS + 2 + _LIMIT_NUMBERS * int(limits))
    for _ in range(2 * int(subjects)):
        place += 2 + int(unpack_from("<H", order, place)[0])
    return order[place:]


def _numbers(one: Dimension, subject: int) -> tuple[int, ...]:
    own = PLACES[one.name], subject, _UNITS[one.unit], one.limit
    if one.period is None:
        return *own, one.burst, 0, 0, 0, 0
    return *own, one.extra, one.lapsed, ordinal(one.period), one.period.start_ms, one.period.end_ms


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pack("<H", len(encoded)) + encoded
