"""The way back to Redis after trouble, without a restart and without counting twice.

Decides when Redis is asked again: after one question that it answered, and when it knows

1. what is open here: each reservation under its own id, so that one which it knows already is not taken again; of those
   that were handed out by id, which may have ended anywhere, only what it may have lost;
2. what was granted without it and is over (`owed`), each order under an id that it keeps until it is answered;
3. the settlements that waited.

Also notices that another server process answers in Redis's place: restarted, or a replica that was promoted. It is told
of what is still open; what else it was not told of in time is lost, and said to be (`losses`).
"""

import asyncio
from contextlib import suppress
from typing import Final

from msgspec.structs import replace

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.batches import each
from citadel_edge.limits.claims import Home, Reservation
from citadel_edge.limits.lifeline import Lifeline
from citadel_edge.limits.local_store import LocalStore
from citadel_edge.limits.losses import Looks
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.limits.news import News
from citadel_edge.limits.open_reservations import OpenReservations
from citadel_edge.limits.owed import Owed
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.restoring import Restoring
from citadel_edge.limits.rules import is_present
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.limits.settling import Settling
from citadel_edge.limits.values import MINUTE_MS, Kind, Order, Verdict
from citadel_edge.storage.backoff import Backoff
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.storage.redis_roll_call import roll_call
from citadel_edge.telemetry.clock import Clock

LOOK_S: Final = 2.0
ROUNDS: Final = 5
"""Under load something new is granted locally in each round: after so many the rest is told while Redis serves."""
FIRST_PAUSE_S: Final = 0.05
LAST_PAUSE_S: Final = 0.25


class Comeback:
    """Looks after Redis. `run` must be running."""

    def __init__(
        self,
        redis: RedisPool,
        store: RedisStore,
        *,
        lifeline: Lifeline,
        open_: OpenReservations,
        owed: Owed,
        local: LocalStore,
        settling: Settling,
        restoring: Restoring,
        time: ServerTime,
        clock: Clock,
        news: News,
        metrics: LimitsMetrics,
    ) -> None:
        self._redis = redis
        self._store = store
        self._lifeline = lifeline
        self._open = open_
        self._owed = owed
        self._local = local
        self._settling = settling
        self._restoring = restoring
        self._time = time
        self._clock = clock
        self._news = news
        self._metrics = metrics
        self._orders: dict[str, Order] = {}
        self._may_have_lost = False
        self._looks = Looks()

    async def run(self) -> None:
        """Until cancelled: after trouble come back; else look now and then who answers."""
        while True:
            if await self._answers():
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._lifeline.trouble.wait()
            if self._lifeline.trouble.is_set():
                await self.come_back()

    async def come_back(self) -> None:
        """Return when Redis serves and knows all that it has to."""
        pauses = Backoff(FIRST_PAUSE_S, LAST_PAUSE_S)
        while True:
            self._lifeline.trouble.clear()
            await asyncio.sleep(self._lifeline.cool_until_s - self._clock.monotonic_s())
            if await self._answers() and await self._hand_over():
                return
            self._lifeline.lose(self._clock.monotonic_s(), self._lifeline.reason or "Redis does not answer in time")
            await asyncio.sleep(pauses.next_s())
            await self._redis.wait_until_up()

    async def adopt(self, reservation: Reservation) -> bool:
        """Tell Redis of a reservation that is open here. False: it did not answer."""
        if reservation.home is Home.LOCAL:  # from now on it is not owed: whoever settles it meanwhile settles it there
            self._owed.handed_over(reservation.order, self._time.now_ms())
            reservation.home = Home.UNCERTAIN
        if reservation.settled:
            return True
        order = self._adoption(reservation)
        if not await self._carry_out(order):
            return False
        self._metrics.adopted.inc()
        self._open.confirmed(reservation)
        return True

    async def _answers(self) -> bool:
        """Whether all of Redis does; who it is, on the way."""
        writes = self._store.writes
        try:
            present = await roll_call(self._redis)
        except RedisUnavailable as error:
            self._lifeline.failed(self._clock.monotonic_s(), error)
            self._lifeline.reason = str(error)
            return False
        loss = self._looks.look(present, writes=writes, now_s=self._clock.monotonic_s())
        self._may_have_lost |= loss is not None or not all(one.run_id for one in present)
        if loss is not None:
            self._settling.distrust()
            self._restoring.lost()
            self._news.server_changed(len(self._open), loss)
            if self._lifeline.serves:
                await each(list(self._open), self._tell_again)
        return True

    async def _hand_over(self) -> bool:
        everything = not self._lifeline.serves
        for _ in range(ROUNDS):
            if not await self._round(everything=everything):
                return False
            everything = False
            if not self._open.away() and not self._owed:
                break
        if not await self._settling.send():
            return False
        self._local.clear()
        if self._open.away() or self._owed:
            self._lifeline.trouble.set()
        self._may_have_lost = False
        self._lifeline.regain(self._clock.monotonic_s())
        return True

    async def _round(self, *, everything: bool) -> bool:
        """Adopt and post once."""
        if everything and not await each([one for one in self._open if one.home is Home.REDIS], self._tell_again):
            return False
        if not await each(self._open.away(), self.adopt):
            return False
        for order in self._owed.orders(self._time.now_ms(), self._clock):
            self._orders[order.reservation] = order
        return await each(list(self._orders.values()), self._post)

    async def _tell_again(self, reservation: Reservation) -> bool:
        """Redis knew it before the trouble, and may know it still."""
        if reservation.settled:
            return True
        now_s, ttl_ms = self._clock.monotonic_s(), reservation.order.ttl_ms
        if not reservation.held:
            over = reservation.expires_s <= now_s or not self._may_have_lost
            return over or await self.adopt(reservation)
        try:
            known = await self._store.renew(reservation.id, ttl_ms=ttl_ms, kept=reservation.kept)
        except RedisUnavailable as error:
            return self._lifeline.failed(now_s, error)
        reservation.expires_s = now_s + ttl_ms / 1000
        return known or await self.adopt(reservation)

    async def _post(self, order: Order) -> bool:
        present = tuple(
            one for one in order.dimensions if one.period is None or is_present(one.period, self._time.now_ms())
        )
        if present and not await self._carry_out(replace(order, dimensions=present)):
            return False
        self._orders.pop(order.reservation, None)
        return True

    async def _carry_out(self, order: Order) -> bool:
        """False: it was not answered, or its periods ended at this moment. What can never be is as if it were done."""
        asked_s = self._clock.monotonic_s()
        try:
            answer = await self._store.reserve(order)
        except RedisUnavailable as error:
            return self._lifeline.failed(self._clock.monotonic_s(), error)
        self._time.learn(asked_s, answer.now_ms)
        return answer.verdict is not Verdict.STALE

    def _adoption(self, reservation: Reservation) -> Order:
        """The order anew, for what is left of its life, whatever the limits say; without rates that have drained."""
        now_s, now_ms, order = self._clock.monotonic_s(), self._time.now_ms(), reservation.order
        drained = now_s - reservation.began_s >= MINUTE_MS / 1000
        counted = tuple(
            one
            for one in order.dimensions
            if not (drained and one.kind is Kind.RATE) and (one.period is None or is_present(one.period, now_ms))
        )
        left_ms = order.ttl_ms if reservation.held else max(1, round((reservation.expires_s - now_s) * 1000))
        return replace(order, dimensions=counted, kept=reservation.kept, ttl_ms=left_ms, force=True, not_after_ms=0)
