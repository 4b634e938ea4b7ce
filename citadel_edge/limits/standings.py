"""What a client is told of its limits, from an order and the levels that the store answered. Pure.

Decides how levels read as remaining units and seconds, and which limits denied. Refuses to know how they are sent.
"""

from typing import Final

from citadel_edge.limits.rules import cost_of, fits, reset_ms, retry_ms, room_of
from citadel_edge.limits.values import (
    MINUTE_MS,
    NANO,
    Answer,
    Dimension,
    Kind,
    Level,
    Order,
    Standing,
    Unit,
    Verdict,
)

LEASE_RETRY_S: Final = 1.0
"""When to ask again for a lease: they are given back when requests end, which nobody foresees."""
_SIDES: Final = {"u": "user", "o": "organisation"}
_KINDS: Final = {"m": "model", "e": "endpoint"}


def standings(order: Order, answer: Answer) -> tuple[Standing, ...]:
    """Every limit of the order as it stands after the decision; none when the order was STALE."""
    denied = answer.verdict is Verdict.DENIED
    pairs = zip(order.dimensions, answer.levels, strict=False)
    return tuple(_standing(order, one, level, answer.now_ms, denied=denied) for one, level in pairs)


def scope_of(subject: str) -> str:
    """Whose limit it is, in words: `user`, `organisation`, `user model llama-3`, `organisation endpoint embeddings`."""
    side, _, rest = subject.partition(":")
    if side == "u":
        _, _, rest = rest.partition(":")
    kind, _, name = rest.partition(":")
    return scope(_SIDES[side], **{_KINDS[kind]: name} if kind else {})


def scope(side: str, model: str = "", endpoint: str = "") -> str:
    """The same of a limit that is told apart by the words themselves."""
    alone = f" model {model}" if model else f" endpoint {endpoint}" if endpoint else ""
    return f"{side}{alone}"


def remaining(dimension: Dimension, level: Level) -> int:
    """Units that one request would be granted now."""
    if dimension.kind is Kind.LEASES:
        return max(0, dimension.limit - level.amount)
    if dimension.kind is Kind.CALENDAR:
        return max(0, dimension.limit + room_of(dimension, level.taken) - level.amount)
    if dimension.limit == 0:
        return 0
    if dimension.unit is Unit.TOKENS and level.amount == 0:
        return dimension.limit
    return max(0, (dimension.burst * MINUTE_MS - level.amount) // MINUTE_MS)


def _standing(order: Order, dimension: Dimension, level: Level, now_ms: int, *, denied: bool) -> Standing:
    cost = cost_of(dimension, order) if denied else 0
    guilty = denied and not fits(dimension, level, cost)
    return Standing(
        name=dimension.name,
        scope=scope_of(dimension.subject),
        limit=_shown(dimension, dimension.limit),
        remaining=_shown(dimension, remaining(dimension, level)),
        reset_s=reset_ms(dimension, level, now_ms) / 1000,
        denied=guilty,
        retry_after_s=_retry_s(dimension, level, cost, now_ms) if guilty else None,
    )


def _retry_s(dimension: Dimension, level: Level, cost: int, now_ms: int) -> float | None:
    if dimension.kind is Kind.LEASES and dimension.limit > 0:
        return LEASE_RETRY_S
    wait_ms = retry_ms(dimension, level, cost, now_ms)
    return None if wait_ms is None else wait_ms / 1000


def _shown(dimension: Dimension, units: int) -> int | float:
    return units / NANO if dimension.unit is Unit.NANO_USD else units
