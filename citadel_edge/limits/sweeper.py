"""Reservations whose owners died are ended, whoever's they were.

Every organisation with reservations is registered in one sorted set, scored by when it was registered last; each
instance goes round it, a part at a time, so that a lap takes half a minute at most. Those that have requests are swept
by these anyway. Decides how often. Refuses to know what an end means: that is the script's.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.batches import each
from citadel_edge.limits.lifeline import Lifeline
from citadel_edge.limits.news import News
from citadel_edge.limits.redis_store import RedisStore, ScriptFailed
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock

KEY: Final = "citadel:limits:organisations"
SWEEP_S: Final = 3.0
LAPS: Final = 10
"""So many steps a lap, but at least `LEAST` organisations a step."""
LEAST: Final = 50
MOST_EACH: Final = 100
REGISTER_S: Final = 60.0
FORGOTTEN_MS: Final = 2 * 86_400_000
"""No reservation lives longer than a day without being renewed, and a renewal registers."""
MOST_KNOWN: Final = 50_000


class Sweeper:
    """Registers and goes round. `run` must be running."""

    def __init__(
        self,
        redis: RedisPool,
        store: RedisStore,
        *,
        lifeline: Lifeline,
        time: ServerTime,
        clock: Clock,
        news: News,
        log: FilteringBoundLogger,
        sweep_s: float = SWEEP_S,
    ) -> None:
        self._redis = redis
        self._store = store
        self._lifeline = lifeline
        self._time = time
        self._clock = clock
        self._news = news
        self._log = log
        self._sweep_s = sweep_s
        self._registered: OrderedDict[str, float] = OrderedDict()
        self._new: set[str] = set()
        self._wake = asyncio.Event()
        self._next = 0
        self._swept = 0

    def seen(self, organisation_id: str, now_s: float) -> None:
        """It has a reservation. Costs nothing unless it has not been registered for a minute."""
        registered_s = self._registered.get(organisation_id)
        if registered_s is not None and now_s - registered_s < REGISTER_S:
            return
        self._registered[organisation_id] = now_s
        self._registered.move_to_end(organisation_id)
        if len(self._registered) > MOST_KNOWN:
            self._registered.popitem(last=False)
        self._new.add(organisation_id)
        self._wake.set()

    async def run(self) -> None:
        """Register whom we have seen at once, sweep every few seconds, until cancelled."""
        next_s = self._clock.monotonic_s() + self._sweep_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(next_s - self._clock.monotonic_s()):
                    await self._wake.wait()
            self._wake.clear()
            await self._lifeline.serving.wait()
            due = self._clock.monotonic_s() >= next_s
            if not await self._step(due=due) or due:
                next_s = self._clock.monotonic_s() + self._sweep_s

    async def _step(self, *, due: bool) -> bool:
        try:
            await self._register()
            if due:
                await each(await self._part(), self._sweep)
        except RedisUnavailable:
            return False
        except Exception:
            self._log.exception("reservations could not be swept")
        if self._swept:
            self._news.swept(self._swept)
            self._swept = 0
        return True

    async def _register(self) -> None:
        if not self._new:
            return
        now_ms, new = self._time.now_ms(), sorted(self._new)
        await self._redis.call("ZADD", KEY, *(word for name in new for word in (now_ms, name)))
        self._new.difference_update(new)

    async def _part(self) -> list[str]:
        await self._redis.call("ZREMRANGEBYSCORE", KEY, "-inf", self._time.now_ms() - FORGOTTEN_MS)
        total = int(await self._redis.call("ZCARD", KEY))
        size = max(LEAST, -(-total // LAPS))
        if self._next >= total:
            self._next = 0
        names = await self._redis.call("ZRANGE", KEY, self._next, self._next + size - 1)
        self._next += size
        return [name.decode() for name in names]

    async def _sweep(self, organisation_id: str) -> bool:
        try:
            self._swept += await self._store.sweep(organisation_id, most=MOST_EACH)
        except ScriptFailed as error:
            self._lifeline.failed(self._clock.monotonic_s(), error)
        return True
