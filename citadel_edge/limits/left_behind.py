"""Reservations of a process that died: whoever goes on with its request gives them back, and claims anew.

Decides that a held reservation may be ended by its id here, by one who has that from the request's own record; `by_id`,
for services, lets nobody. Refuses to know which requests go on.
"""

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.endings import Endings
from citadel_edge.limits.lifeline import Lifeline
from citadel_edge.limits.open_reservations import OpenReservations
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.settling import Settlement, Settling
from citadel_edge.limits.values import NOTHING
from citadel_edge.telemetry.clock import Clock


class LeftBehind:
    """What others have left."""

    def __init__(
        self,
        store: RedisStore,
        open_: OpenReservations,
        *,
        settling: Settling,
        endings: Endings,
        lifeline: Lifeline,
        clock: Clock,
    ) -> None:
        self._store = store
        self._open = open_
        self._settling = settling
        self._endings = endings
        self._lifeline = lifeline
        self._clock = clock

    async def take_back(self, reservation_id: str) -> bool:
        """See `Limiter.take_back`."""
        own = self._open.get(reservation_id)
        if own is not None:  # this process lost the request and got it again
            self._endings.settle(own, NOTHING, "")
            return True
        if reservation_id in self._settling:
            return False
        try:
            if self._lifeline.serves:
                return await self._store.settle(reservation_id, NOTHING) is not None
        except RedisUnavailable as error:
            self._lifeline.failed(self._clock.monotonic_s(), error)
        except BaseException:
            self._later(reservation_id)
            raise
        self._later(reservation_id)
        return True

    def _later(self, reservation_id: str) -> None:
        self._settling.put(Settlement(id=reservation_id, spent=NOTHING))
