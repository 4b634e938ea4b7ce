"""Settlements on their way to Redis: queued by whoever is done, sent together, kept until Redis has taken them.

Decides when they are sent (in the next turn of the loop, or when Redis is back), how many may wait, and what becomes of
one that Redis knows nothing of:

- It may never have heard of the reservation: its answer did not come in time, or it has lost its memory since. Then
  what was spent is taken now, under the reservation's own id, so that a reservation that was there after all is not
  taken twice (what was settled is remembered for a minute, see `rules`).
- Else it was settled before: by an earlier attempt whose answer was lost, or by its id.

What a cancelled or late order may have taken is given back at once, and once more when it cannot arrive any more.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.batches import each
from citadel_edge.limits.denials import Denials
from citadel_edge.limits.lifeline import Lifeline
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.rules import SETTLED_MS
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.limits.values import MINUTE_MS, NOTHING, Kind, Order, Spent, Verdict
from citadel_edge.telemetry.clock import Clock

MOST: Final = 100_000
PAUSE_S: Final = 0.05
SLACK_S: Final = 0.02


@dataclass(slots=True, eq=False, kw_only=True)
class Settlement:
    """One that waits.

    Attributes:
        order: what was reserved; null where only the id is known.
        held: nobody else settles it.
        began_s: when it was reserved (monotonic).
        uncertain: Redis may not know the reservation.
        again_s: when to ask once more, if it is unknown at first: an order that was given up may still arrive.
        tried_s: when it was sent first.
    """

    id: str
    spent: Spent
    model: str = ""
    order: Order | None = None
    held: bool = False
    began_s: float = 0.0
    uncertain: bool = False
    again_s: float | None = None
    tried_s: float | None = None


class Settling:
    """The queue and who empties it. `run` must be running."""

    def __init__(
        self,
        store: RedisStore,
        *,
        lifeline: Lifeline,
        time: ServerTime,
        clock: Clock,
        log: FilteringBoundLogger,
        metrics: LimitsMetrics,
        denials: Denials,
        on_loss: Callable[[], None],
    ) -> None:
        self._store = store
        self._lifeline = lifeline
        self._time = time
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._denials = denials
        self._on_loss = on_loss
        self._waiting: dict[str, Settlement] = {}
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._lost_at_s: float | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, reservation_id: str) -> bool:
        return reservation_id in self._waiting

    def put(self, settlement: Settlement) -> None:
        """Send it soon. When too many wait, the newest is lost, counted and told."""
        if len(self._waiting) >= MOST:
            self._metrics.lost.inc()
            if self._lost_at_s is None or self._clock.monotonic_s() - self._lost_at_s > 1:
                self._lost_at_s = self._clock.monotonic_s()
                self._log.error("settlements are lost: too many wait for Redis", waiting=len(self._waiting))
            return
        self._waiting.setdefault(settlement.id, settlement)
        self._wake.set()

    def undo(self, order: Order, until_s: float) -> None:
        """Give back what an order may have taken that nobody waits for; it arrives until `until_s` or never."""
        self.put(Settlement(id=order.reservation, spent=NOTHING, again_s=until_s + SLACK_S))

    def distrust(self) -> None:
        """Redis has lost its memory: it may know none of these reservations."""
        for one in self._waiting.values():
            one.uncertain = one.again_s is None

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_S if self._waiting else None):
                    await self._wake.wait()
            await self._lifeline.serving.wait()
            self._wake.clear()
            if not await self.send():
                await asyncio.sleep(PAUSE_S)

    async def flush(self, within_s: float) -> None:
        """The end: send what can be sent in this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._waiting and await self.send():  # noqa: ASYNC110 - some wait for a moment themselves
                    await asyncio.sleep(SLACK_S)
        if self._waiting:
            self._log.warning("settlements are left behind", count=len(self._waiting))

    async def send(self) -> bool:
        """Send all that wait. False: Redis did not take all of them."""
        async with self._sending:
            now_s = self._clock.monotonic_s()
            ready = [one for one in self._waiting.values() if one.tried_s is None or not _waits(one, now_s)]
            return await each(ready, self._send)

    async def _send(self, settlement: Settlement) -> bool:
        try:
            done = await self._settle(settlement)
        except RedisUnavailable as error:
            if self._lifeline.failed(self._clock.monotonic_s(), error):
                self._waiting.pop(settlement.id, None)
                self._metrics.lost.inc()
                return True
            return False
        if done:
            self._waiting.pop(settlement.id, None)
            if settlement.order is not None:  # once more: it was denied meanwhile for what has just become free
                self._denials.given_back(settlement.order, settlement.spent, settlement.model)
        return True

    async def _settle(self, settlement: Settlement) -> bool:
        """Whether it is done."""
        now_s = self._clock.monotonic_s()
        first, settlement.tried_s = settlement.tried_s is None, settlement.tried_s or now_s
        if await self._store.settle(settlement.id, settlement.spent, settlement.model) is not None:
            return True
        if settlement.again_s is not None:
            return not first or now_s >= settlement.again_s
        order = settlement.order
        if order is None or not self._may_be_unknown(settlement, now_s, first=first):
            return True
        if not settlement.uncertain:
            settlement.uncertain = True
            self._on_loss()
        return await self._take(settlement, order)

    def _may_be_unknown(self, settlement: Settlement, now_s: float, *, first: bool) -> bool:
        """An earlier attempt that was carried out is remembered for so long: taking it anew then changes nothing."""
        remembered = settlement.tried_s is not None and now_s - settlement.tried_s < SETTLED_MS / 1000
        return (first and settlement.held) or (settlement.uncertain and remembered)

    async def _take(self, settlement: Settlement, order: Order) -> bool:
        """What was spent, as a final order under the reservation's id."""
        now_ms = self._time.now_ms()
        drained = (self._clock.monotonic_s() - settlement.began_s) * 1000 >= MINUTE_MS
        counted = tuple(
            one
            for one in order.dimensions
            if (one.kind is Kind.CALENDAR or (one.kind is Kind.RATE and not drained))
            and (one.period is None or one.period.start_ms <= now_ms < one.period.end_ms)
            and (not settlement.model or one.model in ("", settlement.model))
        )
        if not counted:
            return True
        final = replace(
            order, dimensions=counted, cost=settlement.spent, ttl_ms=0, leases=False, force=True, not_after_ms=0
        )
        asked_s = self._clock.monotonic_s()
        answer = await self._store.reserve(final)
        self._time.learn(asked_s, answer.now_ms)
        return answer.verdict is not Verdict.STALE


def _waits(settlement: Settlement, now_s: float) -> bool:
    return settlement.again_s is not None and now_s < settlement.again_s
