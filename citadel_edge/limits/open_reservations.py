"""The reservations of this instance that nobody has settled yet.

Decides which of them have to be renewed and which are over. One's own (`held`) stay until they are settled; those that
were handed out by id until they expire.
"""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from citadel_edge.limits.claims import Home, Reservation
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

RENEWALS: Final = 3
"""So many renewals fit into a life."""
MOST_LENT: Final = 100_000
SETTLED_ON_TOP: Final = 1000
"""More expiries than twice the reservations, and so many, are tidied up."""


def reservation_id(organisation_id: str, clock: Clock) -> str:
    """A new one, which says whose it is: see `redis_store.organisation_of`."""
    return f"res_{organisation_id.removeprefix('org_')}_{uuid7(clock).hex}"


class OpenReservations:
    """By id and by organisation."""

    def __init__(self) -> None:
        self._own: dict[str, Reservation] = {}
        self._lent: OrderedDict[str, Reservation] = OrderedDict()
        self._away: dict[str, Reservation] = {}
        self._expiries: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._own) + len(self._lent)

    def __iter__(self) -> Iterator[Reservation]:
        """All of them, as they are now."""
        yield from (*self._own.values(), *self._lent.values())

    def add(self, reservation: Reservation) -> None:
        """One more."""
        if reservation.home is not Home.REDIS:
            self._away[reservation.id] = reservation
        if reservation.held:
            self._own[reservation.id] = reservation
            return
        self._lent[reservation.id] = reservation
        heappush(self._expiries, (reservation.expires_s, reservation.id))
        if len(self._lent) > MOST_LENT:
            self._away.pop(self._lent.popitem(last=False)[0], None)

    def get(self, reservation_id: str) -> Reservation | None:
        """One of ours."""
        return self._own.get(reservation_id) or self._lent.get(reservation_id)

    def remove(self, reservation: Reservation) -> None:
        """It is settled."""
        self._own.pop(reservation.id, None)
        self._lent.pop(reservation.id, None)
        self._away.pop(reservation.id, None)

    def away(self) -> list[Reservation]:
        """Those that Redis has not confirmed."""
        return list(self._away.values())

    def confirmed(self, reservation: Reservation) -> None:
        """Redis has it on record."""
        reservation.home = Home.REDIS
        self._away.pop(reservation.id, None)

    def due(self, now_s: float) -> list[Reservation]:
        """One's own that should be renewed."""
        return [one for one in self._own.values() if now_s >= one.expires_s - _left_s(one)]

    def forget_expired(self, now_s: float) -> None:
        """Drop what was handed out and not renewed here; what Redis does not know yet is kept until it does."""
        while self._expiries and self._expiries[0][0] < now_s:
            lent = self._lent.get(heappop(self._expiries)[1])
            if lent is None:
                continue
            if lent.expires_s < now_s and lent.home is Home.REDIS:
                del self._lent[lent.id]
            else:
                heappush(self._expiries, (max(lent.expires_s, now_s), lent.id))
        if len(self._expiries) > 2 * len(self._lent) + SETTLED_ON_TOP:
            self._expiries = [(one.expires_s, one.id) for one in self._lent.values()]
            heapify(self._expiries)


def _left_s(reservation: Reservation) -> float:
    """What is left of a life when a third of it is over."""
    return reservation.order.ttl_ms / 1000 * (RENEWALS - 1) / RENEWALS
