"""Reservations of requests that run for long live on; those of a process that dies end by themselves.

Decides when each is renewed (at a third of its life) and what happens when Redis knows nothing of one: it has lost it,
and is told again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.batches import each
from citadel_edge.limits.claims import Home, Reservation
from citadel_edge.limits.lifeline import Lifeline
from citadel_edge.limits.local_store import LocalStore
from citadel_edge.limits.open_reservations import OpenReservations
from citadel_edge.limits.owed import Owed
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.telemetry.clock import Clock

LOOK_S: Final = 1.0
TIDY_S: Final = 60.0


class Renewals:
    """Looks after what is open. `run` must be running."""

    def __init__(
        self,
        store: RedisStore,
        local: LocalStore,
        open_: OpenReservations,
        owed: Owed,
        *,
        lifeline: Lifeline,
        time: ServerTime,
        clock: Clock,
        adopt: Callable[[Reservation], Awaitable[bool]],
        on_loss: Callable[[], None],
        look_s: float = LOOK_S,
    ) -> None:
        self._store = store
        self._local = local
        self._open = open_
        self._owed = owed
        self._lifeline = lifeline
        self._time = time
        self._clock = clock
        self._adopt = adopt
        self._on_loss = on_loss
        self._look_s = look_s
        self._tidied_s = clock.monotonic_s()

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            await self.look()

    async def look(self) -> None:
        """Renew what is due, forget what is over."""
        now_s = self._clock.monotonic_s()
        self._open.forget_expired(now_s)
        due = self._open.due(now_s)
        for one in due if not self._lifeline.serves else ():
            self._local.renew(one, one.order.ttl_ms, self._time.now_ms())
            one.expires_s = now_s + one.order.ttl_ms / 1000
        if self._lifeline.serves:
            await each([one for one in due if one.home is Home.REDIS], self._renew)
        if now_s - self._tidied_s > TIDY_S:
            self._tidied_s = now_s
            self._local.tidy(self._time.now_ms())
            self._owed.tidy(self._time.now_ms())

    async def _renew(self, reservation: Reservation) -> bool:
        now_s, ttl_ms = self._clock.monotonic_s(), reservation.order.ttl_ms
        try:
            alive = await self._store.renew(reservation.id, ttl_ms=ttl_ms, kept=reservation.kept)
        except RedisUnavailable as error:
            return self._lifeline.failed(now_s, error)
        overdue, reservation.expires_s = now_s > reservation.expires_s, now_s + ttl_ms / 1000
        if alive or reservation.settled:
            return True
        if not overdue:
            self._on_loss()
        return await self._adopt(reservation)
