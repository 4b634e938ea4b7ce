"""Which replicas of a model may take a request, which may not, why, and when they may again.

Decides by looking at the rows of this moment. Refuses to change them, and to compare those that are left: that is
`scores`' and `strategies`'.

Structs, because making one costs a seventh of a frozen dataclass, and every request makes one a replica.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from math import inf
from typing import Final

from msgspec import Struct

from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.fleet.table import Deployment, Health, Row, RowState
from citadel_edge.routing.ask import CLEARLY


class Exclusion(StrEnum):
    """Why a replica is out."""

    DISABLED = "disabled"
    DRAINING = "draining"
    UNKNOWN = "unknown"
    UNHEALTHY = "unhealthy"
    BREAKER = "breaker"
    COOLING = "cooling"
    FULL = "full"
    CONTEXT = "context"
    TRIED = "tried"


class Excluded(Struct, frozen=True, gc=False):
    """Out, in words for a reader.

    Attributes:
        retry_in_s: when it may be back, where that is known.
        lasting: only an operator, or a server that starts again, brings it back: not worth waiting for.
    """

    code: Exclusion
    reason: str
    retry_in_s: float | None = None
    lasting: bool = False


# Bound ahead, here and in `chooser`: every replica is compared with them, and Python 3.11 takes longer to find a member
# of an enum than for the comparison.
_ACTIVE: Final = RowState.ACTIVE
_HEALTHY: Final = Health.HEALTHY
_CLOSED: Final = BreakerState.CLOSED
_BREAKER: Final = Exclusion.BREAKER
TRIED: Final = Excluded(Exclusion.TRIED, "it failed this request already", lasting=True)
_TIGHT: Final = Excluded(
    Exclusion.CONTEXT, "the prompt may be too long for its context, and is not for another's", lasting=True
)
_DEAD: Final = frozenset({Exclusion.DISABLED, Exclusion.DRAINING, Exclusion.UNKNOWN, Exclusion.UNHEALTHY})
PARTS: Final = (
    "load",
    "prefill_s",
    "decode_s",
    "held_up_s",
    "prefix_gain_s",
    "stall_s",
    "penalty_s",
    "kv_pressure",
    "warmth",
    "weight",
    "session",
    "forgotten",
)


class Candidate(Struct, frozen=True, gc=False):
    """One replica as it was when the choice was made, with the raw numbers of its score; `parts` names them.

    Attributes:
        score: smaller is better; None when it is out, or was not looked at.
        numbers: what the score is made of, in the order of `names`, which it shares with all others.
    """

    upstream: str
    model: str
    weight: float
    in_flight: int
    excluded: Excluded | None
    score: float | None = None
    numbers: tuple[float, ...] = ()
    names: tuple[str, ...] = PARTS

    def parts(self) -> Mapping[str, float]:
        """What the score is made of, by name; empty without one."""
        return dict(zip(self.names, self.numbers, strict=False))


def obstacle(deployment: Deployment, now: float, *, context_tokens: int = 0) -> Excluded | None:
    """Why a deployment may not be given a prompt of so many tokens at `now` (monotonic seconds); None when it may.

    `context_tokens` is an estimate: it is an obstacle where half of it is beyond what the engine says it can read. What
    is tight is left to the engine, whose refusal tells the client.
    """
    return obstacles((deployment,), now, context_tokens=context_tokens)[0]


def obstacles(deployments: Iterable[Deployment], now: float, *, context_tokens: int = 0) -> list[Excluded | None]:
    """The obstacle of each."""
    found: list[Excluded | None] = []
    for one in deployments:
        row, own = one.row, one.breaker
        closed = row.breaker.state is _CLOSED and (own is None or own.state is _CLOSED)
        room = CLEARLY * row.context_tokens.get(one.model, inf)
        if row.state is not _ACTIVE or row.health is not _HEALTHY:
            found.append(_not_alive(row))
        elif not closed and not one.admits(now):
            found.append(_shut(one, now))
        elif context_tokens > room or now < row.cooling_until or row.in_flight >= row.slots:
            found.append(_no_room(one, now, context_tokens))
        else:
            found.append(None)
    return found


def _not_alive(row: Row) -> Excluded:
    if row.state is not RowState.ACTIVE:
        code = Exclusion.DRAINING if row.state is RowState.DRAINING else Exclusion.DISABLED
        return Excluded(code, f"it is {row.state.value}", lasting=True)
    if row.health is Health.UNKNOWN:
        return Excluded(Exclusion.UNKNOWN, "it was not probed yet")
    return Excluded(Exclusion.UNHEALTHY, f"it is not healthy: {row.health_detail}", lasting=True)


def _shut(deployment: Deployment, now: float) -> Excluded:
    """Which of the two breakers, and until when."""
    own = deployment.breaker
    breaker = own if own is not None and deployment.row.breaker.admits(now) else deployment.row.breaker
    if breaker.held:
        return Excluded(Exclusion.BREAKER, "an operator tripped its breaker", lasting=True)
    wait = breaker.retry_at - now if breaker.state is BreakerState.OPEN else None
    return Excluded(Exclusion.BREAKER, f"its breaker is {breaker.state.value}", wait)


def _no_room(deployment: Deployment, now: float, context_tokens: int) -> Excluded | None:
    row = deployment.row
    context = row.context_tokens.get(deployment.model)
    if context is not None and context_tokens > CLEARLY * context:
        reason = f"a prompt of about {context_tokens} tokens does not fit into its {context}"
        return Excluded(Exclusion.CONTEXT, reason, lasting=True)
    if now < row.cooling_until:
        return Excluded(Exclusion.COOLING, "it said that it is full", row.cooling_until - now)
    if row.in_flight >= row.slots:
        return Excluded(Exclusion.FULL, f"all of its {row.slots} places are taken ({row.slots_words})")
    return None


def held(deployment: Deployment) -> bool:
    """Whether an operator tripped a breaker on the way: not even a panic goes past it."""
    own = deployment.breaker
    return deployment.row.breaker.held or (own is not None and own.held)


def past_breakers(
    deployments: Sequence[Deployment], out: Sequence[Excluded | None], now: float, *, context_tokens: int = 0
) -> list[Excluded | None] | None:
    """The obstacles without breakers that trip by themselves, when under half of the alive are admitted; else None.

    Envoy's panic threshold: when most seem broken, the judgement is more likely to be wrong than all of them. Those
    that fail their probes or that an operator took out are not alive, and stay out.
    """
    shut = sum(1 for excluded in out if excluded is not None and excluded.code is _BREAKER)
    if not shut:
        return None
    alive = sum(1 for excluded in out if excluded is None or excluded.code not in _DEAD)
    if (alive - shut) * 2 >= alive:
        return None
    return [
        _no_room(one, now, context_tokens)
        if excluded is not None and excluded.code is _BREAKER and not held(one)
        else excluded
        for one, excluded in zip(deployments, out, strict=True)
    ]


def narrow(deployments: Iterable[Deployment], context_tokens: int) -> list[bool]:
    """Of each whether a prompt does not fit by the estimate itself, which may err."""
    return [context_tokens > one.row.context_tokens.get(one.model, context_tokens) for one in deployments]


def roomy(
    deployments: Sequence[Deployment], out: list[Excluded | None], *, context_tokens: int
) -> list[Excluded | None]:
    """The obstacles, with those that are tight out too where another one, free or worth waiting for, is not."""
    tight = narrow(deployments, context_tokens)
    if True not in tight or all(
        small or (excluded is not None and excluded.lasting) for small, excluded in zip(tight, out, strict=True)
    ):
        return out
    return [_TIGHT if small and excluded is None else excluded for small, excluded in zip(tight, out, strict=True)]


class Waiting(Struct, frozen=True, gc=False):
    """Whether it makes sense to wait when nobody may be asked.

    Attributes:
        worth: capacity may come: somebody is full, cooling, shut by a breaker that tries again, or not probed yet.
        retry_in_s: the earliest time known; None: when a place comes free, whenever that is.
    """

    worth: bool
    retry_in_s: float | None = None


NO_WAITING: Final = Waiting(worth=False)


def waiting(out: Sequence[Excluded | None]) -> Waiting:
    """What to expect of replicas that are all out."""
    coming = [one for one in out if one is not None and not one.lasting]
    return Waiting(bool(coming), min((one.retry_in_s for one in coming if one.retry_in_s is not None), default=None))
