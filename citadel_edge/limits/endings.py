"""The one end of a reservation that this instance holds.

Decides who is told what it took in the end: Redis, where it may be on record, or the sum of what is owed to it.
"""

from citadel_edge.limits.claims import Home, Reservation
from citadel_edge.limits.denials import Denials
from citadel_edge.limits.known import Known
from citadel_edge.limits.lifeline import Lifeline
from citadel_edge.limits.local_store import LocalStore
from citadel_edge.limits.metrics import OTHER
from citadel_edge.limits.news import News
from citadel_edge.limits.open_reservations import OpenReservations
from citadel_edge.limits.owed import Owed
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.limits.settling import Settlement, Settling
from citadel_edge.limits.values import NOTHING, Spent


class Endings:
    """Never waits."""

    def __init__(
        self,
        open_: OpenReservations,
        settling: Settling,
        owed: Owed,
        *,
        local: LocalStore,
        known: Known,
        denials: Denials,
        lifeline: Lifeline,
        time: ServerTime,
        news: News,
    ) -> None:
        self._open = open_
        self._settling = settling
        self._owed = owed
        self._local = local
        self._known = known
        self._denials = denials
        self._lifeline = lifeline
        self._time = time
        self._news = news

    def settle(self, reservation: Reservation, spent: Spent, model: str) -> None:
        """See `Limiter.settle`."""
        if reservation.settled:
            return
        self.over(reservation, spent, model)
        self.counted(reservation, spent, model)
        if reservation.home is Home.LOCAL:
            self._owed.spent(reservation.order, spent, model, self._time.now_ms())
            self._lifeline.trouble.set()
            return
        settlement = Settlement(
            id=reservation.id,
            spent=spent,
            model=model,
            order=reservation.order,
            held=reservation.held,
            began_s=reservation.began_s,
            uncertain=reservation.home is Home.UNCERTAIN,
        )
        self._settling.put(settlement)

    def counted(self, reservation: Reservation | None, spent: Spent, model: str) -> None:
        """So much it took in the end; null: one of another instance, of which nothing is known."""
        if reservation is not None:
            self._known.settled(reservation.order, spent, model)
        self._news.settled(OTHER if reservation is None else reservation.tier, spent.tokens)

    def over(self, reservation: Reservation, spent: Spent = NOTHING, model: str = "") -> None:
        """It has ended, and whoever has it on record knows."""
        reservation.settled = True
        self._open.remove(reservation)
        self._denials.given_back(reservation.order, spent, model)
        self._local.settle(reservation, spent, model, self._time.now_ms())
