"""What services wished for reservations of other instances while Redis could not be asked about them.

Decides how long a wish waits: until Redis serves and knows the reservation, and then no longer than it takes all
instances to tell Redis what they granted without it. A settlement takes the place of a renewal, and the last renewal
that of one before. What waits when the process ends, or was granted by an instance that died meanwhile, is lost,
counted and said: the reservation then ends at what it keeps, if Redis knows it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import Code, RedisUnavailable, RequestError
from citadel_edge.limits.batches import each
from citadel_edge.limits.claims import Bill
from citadel_edge.limits.lifeline import TOLD_S, Lifeline
from citadel_edge.limits.metrics import OTHER, LimitsMetrics
from citadel_edge.limits.news import News
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.values import Spent
from citadel_edge.telemetry.clock import Clock

MOST: Final = 100_000
PAUSE_S: Final = 0.25
"""Between two looks for what Redis does not know yet."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Wish:
    """To be settled by its `bill`; or, without one, to live until `expires_s` (monotonic) and keep `kept` then."""

    id: str
    bill: Bill | None = None
    expires_s: float = 0.0
    kept: Callable[[bytes], Spent] | None = None


class Elsewhere:
    """The wishes and who carries them out. `run` must be running."""

    def __init__(
        self,
        store: RedisStore,
        *,
        lifeline: Lifeline,
        clock: Clock,
        news: News,
        log: FilteringBoundLogger,
        metrics: LimitsMetrics,
    ) -> None:
        self._store = store
        self._lifeline = lifeline
        self._clock = clock
        self._news = news
        self._log = log
        self._metrics = metrics
        self._wishes: dict[str, _Wish] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._wishes)

    def settles(self, reservation_id: str) -> bool:
        """Whether a settlement of it waits."""
        wish = self._wishes.get(reservation_id)
        return wish is not None and wish.bill is not None

    def settle(self, reservation_id: str, bill: Bill) -> None:
        """As soon as Redis knows of it.

        Raises:
            RequestError: OVERLOADED, too many wait; so does `renew`.
        """
        self._put(_Wish(id=reservation_id, bill=bill))

    def renew(self, reservation_id: str, expires_s: float, kept: Callable[[bytes], Spent] | None) -> None:
        """As soon as Redis knows of it; nothing where a settlement waits."""
        if not self.settles(reservation_id):
            self._put(_Wish(id=reservation_id, expires_s=expires_s, kept=kept))

    async def run(self) -> None:
        """Carry out what can be, until cancelled."""
        while True:
            await self._wake.wait()
            await self._lifeline.serving.wait()
            self._wake.clear()
            await self._carry_out_all()
            if self._wishes:
                self._wake.set()
                await asyncio.sleep(PAUSE_S)

    async def flush(self, within_s: float) -> None:
        """The end: carry out what can be in this time."""
        if self._wishes and self._lifeline.serves:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._carry_out_all()
        if self._wishes:
            self._metrics.lost.inc(len(self._wishes))
            self._log.warning("what services asked of other instances' reservations is lost", count=len(self._wishes))

    def _put(self, wish: _Wish) -> None:
        if len(self._wishes) >= MOST:
            text = "Too many reservations of other instances wait for Redis. Try again soon."
            raise RequestError(Code.OVERLOADED, text, retry_after_s=1)
        self._wishes[wish.id] = wish
        self._wake.set()

    async def _carry_out_all(self) -> None:
        await each(list(self._wishes.values()), self._carry_out)

    async def _carry_out(self, wish: _Wish) -> bool:
        """False: Redis does not answer."""
        try:
            done = await (self._renew(wish) if wish.bill is None else self._settle(wish, wish.bill))
        except RedisUnavailable as error:
            if not self._lifeline.failed(self._clock.monotonic_s(), error):
                return False
            done = self._lost(wish, "it cannot be read")
        except RequestError as error:
            done = self._lost(wish, error.message)
        if done and self._wishes.get(wish.id) is wish:
            del self._wishes[wish.id]
        return True

    async def _settle(self, wish: _Wish, bill: Bill) -> bool:
        """Whether it is done with."""
        meta = await self._store.meta(wish.id)
        if meta is None:
            return self._given_up(wish)
        spent, model = bill.charge(meta)
        if await self._store.settle(wish.id, spent, model, by_id=True) is not None:
            self._news.settled(OTHER, spent.tokens)
            bill.settled(meta)
        return True

    async def _renew(self, wish: _Wish) -> bool:
        left_ms = round((wish.expires_s - self._clock.monotonic_s()) * 1000)
        if left_ms <= 0:
            return True
        meta = await self._store.meta(wish.id)
        if meta is None:
            return self._given_up(wish)
        kept = None if wish.kept is None else wish.kept(meta)
        await self._store.renew(wish.id, ttl_ms=left_ms, kept=kept, by_id=True)
        return True

    def _given_up(self, wish: _Wish) -> bool:
        """Redis knows nothing of it: whether nobody will tell it any more."""
        if self._clock.monotonic_s() - self._lifeline.back_s < TOLD_S:
            return False
        return self._lost(wish, "no instance has told Redis of it")

    def _lost(self, wish: _Wish, reason: str) -> bool:
        self._metrics.lost.inc()
        self._log.warning("a reservation could not be ended or renewed", reservation=wish.id, reason=reason)
        return True
