"""Reservations of services, which know only an id, and may have it from another instance.

Decides who is asked: this instance, where it is one of ours that Redis does not know or cannot be asked about; else
Redis. Those that a running request of any instance holds are nobody's here. While Redis is away a settlement or release
is accepted and carried out later, of ours or not; what one carries that is not ours is then not known. Right after an
outage one that Redis does not know may be one that another instance has yet to tell it of.
"""

from citadel_edge.errors import Code, RedisUnavailable, RequestError
from citadel_edge.limits.claims import Home, Reservation
from citadel_edge.limits.endings import Endings
from citadel_edge.limits.lifeline import TOLD_S, Lifeline
from citadel_edge.limits.local_store import LocalStore
from citadel_edge.limits.open_reservations import OpenReservations
from citadel_edge.limits.redis_store import RedisStore, organisation_of
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.limits.settling import Settlement, Settling
from citadel_edge.limits.sweeper import Sweeper
from citadel_edge.limits.values import Ended, Spent
from citadel_edge.telemetry.clock import Clock


class ById:
    """What a reservation's id is good for."""

    def __init__(
        self,
        store: RedisStore,
        local: LocalStore,
        open_: OpenReservations,
        *,
        settling: Settling,
        sweeper: Sweeper,
        lifeline: Lifeline,
        time: ServerTime,
        clock: Clock,
        endings: Endings,
    ) -> None:
        self._store = store
        self._local = local
        self._open = open_
        self._settling = settling
        self._sweeper = sweeper
        self._lifeline = lifeline
        self._time = time
        self._clock = clock
        self._endings = endings

    async def settle(self, reservation_id: str, spent: Spent, model: str) -> Ended | None:
        """See `Limiter.settle_id`."""
        own = self._own(reservation_id)
        if self._lifeline.serves and (own is None or own.home is Home.REDIS):
            try:
                ended = await self._store.settle(reservation_id, spent, model, by_id=True)
            except RedisUnavailable as error:
                self._lifeline.failed(self._clock.monotonic_s(), error)
            except BaseException:
                self._later(reservation_id, own, spent, model)
                raise
            else:
                if own is not None:
                    self._endings.over(own)
                if ended is None:
                    raise self._missing(reservation_id, own)
                self._endings.counted(own, spent, model)
                return ended
        return self._later(reservation_id, own, spent, model)

    async def renew(self, reservation_id: str, ttl_s: float, kept: Spent | None) -> None:
        """See `Limiter.renew_id`."""
        own = self._own(reservation_id)
        ttl_ms, now_s = round(ttl_s * 1000), self._clock.monotonic_s()
        if self._lifeline.serves and (own is None or own.home is Home.REDIS):
            try:
                alive = await self._store.renew(reservation_id, ttl_ms=ttl_ms, kept=kept, by_id=True)
            except RedisUnavailable as error:
                self._lifeline.failed(self._clock.monotonic_s(), error)
            else:
                self._renewed(reservation_id, own, now_s + ttl_s, alive=alive)
                return
        if own is None:
            raise _not_now()
        self._local.renew(own, ttl_ms, self._time.now_ms())
        own.expires_s = now_s + ttl_s

    async def meta(self, reservation_id: str) -> bytes:
        """See `Limiter.meta_of`."""
        own = self._own(reservation_id)
        if own is not None:
            return own.order.meta
        found = await self._store.meta(reservation_id)
        if found is None:
            raise self._missing(reservation_id, None)
        return found

    def _renewed(self, reservation_id: str, own: Reservation | None, expires_s: float, *, alive: bool) -> None:
        if not alive:
            if own is not None:
                self._endings.over(own)
            raise self._missing(reservation_id, own)
        self._sweeper.seen(organisation_of(reservation_id) or "", self._clock.monotonic_s())
        if own is not None:
            own.expires_s = expires_s

    def _own(self, reservation_id: str) -> Reservation | None:
        """It, if it is one of ours and open; raises where it is none that is ended by its id."""
        own = self._open.get(reservation_id)
        held = own is not None and own.held
        if held or organisation_of(reservation_id) is None or reservation_id in self._settling:
            raise _unknown(reservation_id)
        return own

    def _missing(self, reservation_id: str, own: Reservation | None) -> RequestError:
        """What to say of one that Redis does not know."""
        untold = own is None and self._clock.monotonic_s() - self._lifeline.back_s < TOLD_S
        return _not_now() if untold else _unknown(reservation_id)

    def _later(self, reservation_id: str, own: Reservation | None, spent: Spent, model: str) -> Ended | None:
        if own is None:
            self._settling.put(Settlement(id=reservation_id, spent=spent, model=model, by_id=True))
            return None
        self._endings.settle(own, spent, model)
        return Ended(late=False, meta=own.order.meta)


def _not_now() -> RequestError:
    text = "The reservation cannot be looked up at the moment. Try again soon."
    return RequestError(Code.OVERLOADED, text, retry_after_s=1)


def _unknown(reservation_id: str) -> RequestError:
    shown = reservation_id if organisation_of(reservation_id) else "of this form"
    return RequestError(
        Code.NOT_FOUND,
        f"There is no open reservation {shown}: it was settled, has ended or never was.",
        param="reservation",
    )
