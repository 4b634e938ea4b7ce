"""An order as the scripts read it: numbers as little-endian doubles, exact for whole numbers below 2**53. Pure.

Behind the order's own numbers stand those of each limit, then each subject with its model, then `meta`. The part that
comes from the plan is the same for request after request and is made once, with the keys that it touches.
"""

from collections import OrderedDict
from struct import Struct, pack, unpack_from
from typing import Final

import msgspec

from citadel_edge.limits.rules import LONGEST_TTL_MS, bounded, ordinal, takes_leases
from citadel_edge.limits.values import Dimension, Kind, LimitName, Order, Unit

_OWN: Final = Struct("<9d")
_SIZES: Final = Struct("<2d")
_LIMIT: Final = Struct("<3B6d")
FORCED: Final = 1
LEASES: Final = 2
ONLY_READ: Final = 4
HELD: Final = 8
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


class Plan(msgspec.Struct, frozen=True):
    """The part of an order that its limits make: its bytes, and the keys that it touches."""

    packed: bytes
    keys: tuple[str, ...]


class Packer:
    """Packs plans, and remembers those of late."""

    def __init__(self, most: int = 10_000) -> None:
        self._plans: OrderedDict[tuple[str, int], tuple[tuple[Dimension, ...], Plan]] = OrderedDict()
        self._most = most

    def plan(self, organisation_id: str, dimensions: tuple[Dimension, ...]) -> Plan:
        """The plan of these dimensions; of the same tuple it is made once."""
        key = organisation_id, id(dimensions)
        known = self._plans.get(key)
        if known is not None and known[0] is dimensions:
            return known[1]
        made = _plan(organisation_id, dimensions)
        self._plans[key] = dimensions, made
        if len(self._plans) > self._most:
            self._plans.popitem(last=False)
        return made


def prefix(organisation_id: str) -> str:
    """What an organisation's keys begin with; the braces keep them together on a cluster."""
    return f"citadel:limits:{{{organisation_id}}}:"


def packed(order: Order, plan: Plan, *, only_read: bool = False) -> bytes:
    """An order's bytes."""
    cost, kept = bounded(order.cost), bounded(order.kept)
    flags = FORCED * order.force + LEASES * takes_leases(order) + ONLY_READ * only_read + HELD * order.held
    own = _OWN.pack(
        *(flags, min(order.ttl_ms, LONGEST_TTL_MS), order.not_after_ms),
        *(cost.requests, cost.tokens, cost.nano_usd),
        *(kept.requests, kept.tokens, kept.nano_usd),
    )
    return own + plan.packed + order.meta


def is_held(order: bytes) -> bool:
    """Whether a packed order is `held`."""
    return int(_OWN.unpack_from(order)[0]) & HELD != 0


def own_bytes(order: bytes) -> bytes:
    """The caller's own bytes (`meta`) of a packed order."""
    limits, subjects = _SIZES.unpack_from(order, _OWN.size)
    place = _OWN.size + _SIZES.size + _LIMIT.size * int(limits)
    for _ in range(2 * int(subjects)):
        place += 2 + int(unpack_from("<H", order, place)[0])
    return order[place:]


def _plan(organisation_id: str, dimensions: tuple[Dimension, ...]) -> Plan:
    subjects = {one.subject: one.model for one in dimensions}
    places = {subject: place for place, subject in enumerate(subjects, 1)}
    limits = (_LIMIT.pack(*_numbers(one, places[one.subject])) for one in dimensions)
    words = (_text(subject) + _text(model) for subject, model in subjects.items())
    sets = (f"l:{one.subject}" for one in dimensions if one.kind is Kind.LEASES)
    keys = "r", "x", *(f"s:{subject}" for subject in subjects), *sets
    return Plan(
        _SIZES.pack(len(dimensions), len(subjects)) + b"".join((*limits, *words)),
        tuple(prefix(organisation_id) + key for key in keys),
    )


def _numbers(one: Dimension, subject: int) -> tuple[int, ...]:
    own = PLACES[one.name], subject, _UNITS[one.unit], one.limit
    if one.period is None:
        return *own, one.burst, 0, 0, 0, 0
    return *own, one.extra, one.lapsed, ordinal(one.period), one.period.start_ms, one.period.end_ms


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pack("<H", len(encoded)) + encoded
