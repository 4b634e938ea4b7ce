"""From an answer to a decision: why a claim is denied, by which limit, and when to come again. Pure.

Refuses to know who answered and how it is said.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from citadel_edge.accounts.entitlement import Entitlement
from citadel_edge.limits.claims import Decision, Reason
from citadel_edge.limits.rules import cost_of, retry_ms, room_of
from citadel_edge.limits.standings import standings
from citadel_edge.limits.values import KINDS, Answer, Dimension, Kind, Level, Order, Standing, Verdict

AWAY_RETRY_S: Final = 5.0
"""When to come again if only Redis's return can help."""
Find = Callable[[Dimension], Level | None]


def largest(dimension: Dimension, taken: int = 0) -> int:
    """The most units that one request may ever be granted of a limit, `taken` being known of its top-ups."""
    return dimension.limit + (room_of(dimension, max(0, taken)) if dimension.kind is Kind.CALENDAR else 0)


def smallest(dimensions: Sequence[Dimension]) -> int | None:
    """The most tokens that one request may ever be granted of all limits; null: none limits them."""
    return min((largest(one) for one in dimensions if one.counts_tokens), default=None)


def too_large(tokens: int, dimensions: Sequence[Dimension], levels: Sequence[Level]) -> int | None:
    """The place of a limit, of tokens and not 0, that never grants so many; null: there is none."""
    for place, (one, level) in enumerate(zip(dimensions, levels, strict=True)):
        if one.counts_tokens and one.limit > 0 and tokens > largest(one, level.taken):
            return place
    return None


def closed_without(order: Order, entitled: Entitlement, find: Find) -> int | None:
    """The place of a limit of which nothing may be taken while Redis is away; null: there is none.

    Rates and leases as `requests_when_away` says. Calendar limits that stay closed grant what is known to be left, but
    nothing where nothing is known.
    """
    for place, one in enumerate(order.dimensions):
        if one.kind is not Kind.CALENDAR:
            closed = not entitled.requests_when_away
        else:
            closed = not entitled.spend_when_away and find(one) is None
        if closed and cost_of(one, order) > 0:
            return place
    return None


def refused(order: Order, levels: Sequence[Level], now_ms: int, place: int, reason: Reason) -> Decision:
    """A denial by one limit that the levels do not tell of."""
    shown = list(standings(order, Answer(Verdict.ADMITTED, now_ms, tuple(levels))))
    after_s = AWAY_RETRY_S if reason is Reason.AWAY else None
    shown[place] = denied = replace(shown[place], denied=True, retry_after_s=after_s)
    return Decision(
        allowed=False,
        standings=tuple(shown),
        denied=denied,
        reason=reason,
        retry_after_s=after_s,
        degraded=reason is Reason.AWAY,
    )


def denial(order: Order, answer: Answer) -> Decision:
    """A denial that Redis answered."""
    place = too_large(order.cost.tokens, order.dimensions, answer.levels)
    if place is None:
        place = _never(order, answer)
    if place is not None:
        return refused(order, answer.levels, answer.now_ms, place, Reason.TOO_LARGE)
    return _denied(standings(order, answer))


def shares(order: Order, shared: Order, answer: Answer, find: Find) -> tuple[Standing, ...]:
    """The standings after a decision by shares: the limits' own sizes, what is left of the shares.

    Where a quota is not known to be used up the share alone is, and that is over when Redis is back.
    """
    shown = []
    own = standings(order, Answer(Verdict.ADMITTED, answer.now_ms, answer.levels))
    for one, whole, part in zip(order.dimensions, own, standings(shared, answer), strict=True):
        after_s = part.retry_after_s
        if part.denied and one.kind is Kind.CALENDAR and one.limit > 0:
            after_s = _quota_retry_s(one, find(one), cost_of(one, order), answer.now_ms)
        shown.append(replace(part, limit=whole.limit, retry_after_s=after_s))
    return tuple(shown)


def denial_of_shares(shown: tuple[Standing, ...]) -> Decision:
    """A denial by them."""
    return replace(_denied(shown), degraded=True)


def _never(order: Order, answer: Answer) -> int | None:
    """The place of a quota of tokens that has less left, now and when its next period begins, for good."""
    for place, (one, level) in enumerate(zip(order.dimensions, answer.levels, strict=True)):
        waits = one.counts_tokens and one.limit > 0
        if waits and retry_ms(one, level, cost_of(one, order), answer.now_ms) is None:
            return place
    return None


def _denied(shown: tuple[Standing, ...]) -> Decision:
    longest = max((one for one in shown if one.denied), key=_wait_s)
    kind, _ = KINDS[longest.name]
    return Decision(
        allowed=False,
        standings=shown,
        denied=longest,
        reason=Reason.QUOTA if kind is Kind.CALENDAR else Reason.RATE,
        retry_after_s=longest.retry_after_s,
    )


def _quota_retry_s(quota: Dimension, level: Level | None, cost: int, now_ms: int) -> float | None:
    wait_ms = 0 if level is None else retry_ms(quota, level, cost, now_ms)
    return AWAY_RETRY_S if wait_ms == 0 else None if wait_ms is None else wait_ms / 1000


def _wait_s(denied: Standing) -> float:
    return float("inf") if denied.retry_after_s is None else denied.retry_after_s
