"""The breakers that stand before a call: its row's, and its deployment's own where the upstream serves several models.

Decides which of the two a call's outcome speaks of: a first token and a success of both, a fault of the one that
`Scope` names, and the other, if this call was its probe, is free for another. Refuses to know what a fault is and who
is told.
"""

from collections.abc import Callable
from enum import StrEnum

from citadel_edge.fleet.breaker import BreakerChange, Rng
from citadel_edge.fleet.row import BreakerEvent, Deployment, Ticket


class Scope(StrEnum):
    """Of what a fault speaks: of the whole upstream, or of the one model there, where it serves several."""

    UPSTREAM = "upstream"
    MODEL = "model"


Events = tuple[BreakerEvent, ...]


def breaker_id(place: Deployment) -> str:
    """The id of a deployment's own breaker."""
    return f"{place.row.id}:{place.name}"


def enter(place: Deployment, now: float, *, panic: bool) -> tuple[int, int, Events]:
    """Begin a call: its stamps at the row's breaker and at its own, and who went HALF_OPEN by it.

    Raises:
        ValueError: one of them does not admit it. Nothing has changed.
    """
    row, own = place.row, place.breaker
    if own is None:
        stamp, change = row.breaker.enter(now, panic=panic)
        return stamp, 0, _of_row(place, change)
    if not panic and not place.admits(now):
        raise ValueError("its breakers admit no call now: ask admits() first")
    if row.breaker.held or own.held:
        raise ValueError("an operator holds its breaker open")
    stamp, change = row.breaker.enter(now, panic=panic)
    own_stamp, own_change = own.enter(now, panic=panic)
    return stamp, own_stamp, _of_row(place, change) + _of_own(place, own_change)


def answers(ticket: Ticket) -> Events:
    """The call shows its first token: what is not CLOSED closes, and the call goes on under its new stamps."""
    place = ticket.deployment
    ticket.row_stamp, change = place.row.breaker.answers(ticket.row_stamp)
    if place.breaker is None:
        return _of_row(place, change)
    ticket.own_stamp, own_change = place.breaker.answers(ticket.own_stamp)
    return _of_row(place, change) + _of_own(place, own_change)


def succeed(ticket: Ticket, now: float) -> Events:
    """The call was answered."""
    place = ticket.deployment
    change = place.row.breaker.succeed(ticket.row_stamp, now=now)
    if place.breaker is None:
        return _of_row(place, change)
    return _of_row(place, change) + _of_own(place, place.breaker.succeed(ticket.own_stamp, now=now))


def fail(
    ticket: Ticket, scope: Scope, *, now: float, rng: Rng, may_trip: Callable[[Deployment, Scope], bool]
) -> Events:
    """The call failed. `may_trip(deployment, scope)` is asked before a breaker trips."""
    place, own = ticket.deployment, ticket.deployment.breaker
    if own is not None and scope is Scope.MODEL:
        place.row.breaker.abandon(ticket.row_stamp)
        change = own.fail(ticket.own_stamp, now=now, rng=rng, may_trip=lambda: may_trip(place, scope))
        return _of_own(place, change)
    if own is not None:
        own.abandon(ticket.own_stamp)
    change = place.row.breaker.fail(
        ticket.row_stamp, now=now, rng=rng, may_trip=lambda: may_trip(place, Scope.UPSTREAM)
    )
    return _of_row(place, change)


def abandon(ticket: Ticket) -> None:
    """The call ended without a verdict."""
    ticket.row.breaker.abandon(ticket.row_stamp)
    if ticket.deployment.breaker is not None:
        ticket.deployment.breaker.abandon(ticket.own_stamp)


def _of_row(place: Deployment, change: BreakerChange | None) -> Events:
    return (BreakerEvent(place.row.id, change),) if change is not None else ()


def _of_own(place: Deployment, change: BreakerChange | None) -> Events:
    return (BreakerEvent(breaker_id(place), change),) if change is not None else ()
