"""Reservations of services, which know only an id, and may have it from another instance.

Decides who is asked: this instance, where it is one of ours that Redis does not know or cannot be asked about; else
Redis. Those that a running request of any instance holds are nobody's here. While Redis is away everything is accepted;
what is not ours is carried out later (`elsewhere`). So it is right after an outage with one that Redis does not know:
another instance may have yet to tell it of that one.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from citadel_edge.errors import Code, RedisUnavailable, RequestError
from citadel_edge.limits.claims import Bill, Home, Reservation
from citadel_edge.limits.elsewhere import Elsewhere
from citadel_edge.limits.endings import Endings
from citadel_edge.limits.lifeline import TOLD_S, Lifeline
from citadel_edge.limits.local_store import LocalStore
from citadel_edge.limits.open_reservations import OpenReservations
from citadel_edge.limits.redis_store import RedisStore, organisation_of
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.limits.settling import Settling
from citadel_edge.limits.sweeper import Sweeper
from citadel_edge.limits.values import NOTHING, Ended, Spent
from citadel_edge.telemetry.clock import Clock


class _GivenBack:
    """The bill of what took nothing."""

    def charge(self, _: bytes) -> tuple[Spent, str]:
        return NOTHING, ""

    def settled(self, _: bytes) -> None:
        """There is nothing to write down."""


GIVEN_BACK: Final[Bill] = _GivenBack()


class ById:
    """What a reservation's id is good for."""

    def __init__(
        self,
        store: RedisStore,
        local: LocalStore,
        open_: OpenReservations,
        *,
        settling: Settling,
        elsewhere: Elsewhere,
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
        self._elsewhere = elsewhere
        self._sweeper = sweeper
        self._lifeline = lifeline
        self._time = time
        self._clock = clock
        self._endings = endings

    async def settle(self, reservation_id: str, bill: Bill) -> Ended | None:
        """See `Limiter.settle_id`."""
        own = self._own(reservation_id)
        if self._asks_redis(own):
            try:
                return await self._settle(reservation_id, own, bill)
            except RedisUnavailable as error:
                self._lifeline.failed(self._clock.monotonic_s(), error)
            except RequestError:
                raise
            except BaseException:
                with suppress(RequestError):
                    self._later(reservation_id, own, bill)
                raise
        return self._later(reservation_id, own, bill)

    async def renew(self, reservation_id: str, ttl_s: float, kept: Callable[[bytes], Spent] | None) -> bool:
        """See `Limiter.renew_id`."""
        own = self._own(reservation_id)
        expires_s = self._clock.monotonic_s() + ttl_s
        if self._asks_redis(own):
            try:
                return await self._renew(reservation_id, own, ttl_s, kept)
            except RedisUnavailable as error:
                self._lifeline.failed(self._clock.monotonic_s(), error)
        if own is None:
            self._elsewhere.renew(reservation_id, expires_s, kept)
            return False
        self._local.renew(own, round(ttl_s * 1000), self._time.now_ms())
        own.expires_s = expires_s
        return True

    def _asks_redis(self, own: Reservation | None) -> bool:
        return self._lifeline.serves and (own is None or own.home is Home.REDIS)

    async def _settle(self, reservation_id: str, own: Reservation | None, bill: Bill) -> Ended | None:
        meta = own.order.meta if own is not None else await self._store.meta(reservation_id)
        if meta is None:
            if not self._untold():
                raise _unknown(reservation_id)
            self._elsewhere.settle(reservation_id, bill)
            return None
        spent, model = bill.charge(meta)
        ended = await self._store.settle(reservation_id, spent, model, by_id=True)
        if own is not None:
            self._endings.over(own)
        if ended is None:
            raise _unknown(reservation_id)
        self._endings.counted(own, spent, model)
        bill.settled(meta)
        return ended

    async def _renew(
        self, reservation_id: str, own: Reservation | None, ttl_s: float, kept: Callable[[bytes], Spent] | None
    ) -> bool:
        now_s, keeps = self._clock.monotonic_s(), None
        if kept is not None:
            meta = own.order.meta if own is not None else await self._store.meta(reservation_id)
            keeps = None if meta is None else kept(meta)
        alive = await self._store.renew(reservation_id, ttl_ms=round(ttl_s * 1000), kept=keeps, by_id=True)
        if alive:
            self._sweeper.seen(organisation_of(reservation_id) or "", self._clock.monotonic_s())
            if own is not None:
                own.expires_s = now_s + ttl_s
            return True
        if own is not None:
            self._endings.over(own)
        elif self._untold():
            self._elsewhere.renew(reservation_id, now_s + ttl_s, kept)
            return False
        raise _unknown(reservation_id)

    def _own(self, reservation_id: str) -> Reservation | None:
        """It, if it is one of ours and open; raises where it is none that is ended by its id."""
        own = self._open.get(reservation_id)
        held = own is not None and own.held
        ending = reservation_id in self._settling or self._elsewhere.settles(reservation_id)
        if held or ending or organisation_of(reservation_id) is None:
            raise _unknown(reservation_id)
        return own

    def _untold(self) -> bool:
        """Whether others may have yet to tell Redis of what they granted without it."""
        return self._clock.monotonic_s() - self._lifeline.back_s < TOLD_S

    def _later(self, reservation_id: str, own: Reservation | None, bill: Bill) -> Ended | None:
        if own is None:
            self._elsewhere.settle(reservation_id, bill)
            return None
        spent, model = bill.charge(own.order.meta)
        self._endings.settle(own, spent, model)
        bill.settled(own.order.meta)
        return Ended(late=False, meta=own.order.meta)


def _unknown(reservation_id: str) -> RequestError:
    shown = reservation_id if organisation_of(reservation_id) else "of this form"
    return RequestError(
        Code.NOT_FOUND,
        f"There is no open reservation {shown}: it was settled, has ended or never was.",
        param="reservation",
    )
