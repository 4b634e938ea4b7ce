"""Quotas that Redis has lost are read from the ledger again, behind the requests.

Decides when that is worth a question: once a user and period when Redis says that nothing was used, and for everybody
when Redis has lost its memory; and again when it says less than half of what it said before. That may be what others
gave back, so it is not asked for each time, but it is kept in mind until it was. The ledger is not believed
right after an outage: it has what other instances granted without Redis and have yet to tell it, which would count
twice. Limits of one model or endpoint alone are not restored. Without a ledger it does nothing.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import DependencyError
from citadel_edge.limits.known import Known
from citadel_edge.limits.lifeline import TOLD_S, Lifeline
from citadel_edge.limits.news import News
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.values import KINDS, Answer, Dimension, LimitName, Order, Period, Spent, Verdict
from citadel_edge.telemetry.clock import Clock

LedgerUsage = Callable[[str, str | None, int], Awaitable[Spent]]
"""What the ledger says was spent since a time: `(organisation_id, user_id or null for all of it, since_ms)`."""
AGAIN_S: Final = 60.0
"""So long a quota that was suspected is not asked for twice, unless Redis has lost its memory in between."""
PAUSE_S: Final = 5.0
"""While the ledger is away; and so long one loss is one."""
MOST_WAITING: Final = 10_000
MOST_KNOWN: Final = 100_000
_Quota = tuple[str, str, LimitName, Period]


@dataclass(slots=True)
class _Asked:
    """A quota that was asked for; `suspected`: it is to be again, from `again_s` on."""

    again_s: float
    suspected: bool = False


class Restoring:
    """Looks at what Redis answers. `run` must be running."""

    def __init__(
        self,
        store: RedisStore,
        ledger_usage: LedgerUsage | None,
        *,
        lifeline: Lifeline,
        clock: Clock,
        news: News,
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._ledger_usage = ledger_usage
        self._lifeline = lifeline
        self._clock = clock
        self._news = news
        self._log = log
        self._asked: OrderedDict[_Quota, _Asked] = OrderedDict()
        self._waiting: asyncio.Queue[_Quota] = asyncio.Queue(MOST_WAITING)
        self._lost_s = -math.inf
        self._lost_ms = -math.inf

    def lost(self) -> None:
        """Redis has lost its memory: everybody's quotas are looked at when they are used next."""
        now_s = self._clock.monotonic_s()
        if self._ledger_usage is None or now_s - self._lost_s < PAUSE_S:
            return
        self._lost_s, self._lost_ms = now_s, math.inf
        self._asked.clear()

    def look(self, order: Order, answer: Answer, known: Known, *, took: bool) -> None:
        """Redis answered, and if it `took` the order its levels are those with it; `known` is from before."""
        if self._ledger_usage is None:
            return
        self._lost_ms = min(self._lost_ms, answer.now_ms)
        took = took and answer.verdict is Verdict.ADMITTED
        for one, level in zip(order.dimensions, answer.levels, strict=True):
            if one.period is None or one.model or ":e:" in one.subject:
                continue
            used = level.amount - (order.cost.of(one.unit) if took else 0)
            self._doubt((order.organisation_id, one.subject, one.name, one.period), one, used, known, answer.now_ms)

    async def run(self) -> None:
        """Ask the ledger, one quota after the other, until cancelled."""
        while True:
            quota = await self._waiting.get()
            await self._until_told()
            try:
                await self._restore(quota)
            except DependencyError:
                self._asked[quota] = _Asked(-math.inf, suspected=True)
                await asyncio.sleep(PAUSE_S)
            except Exception:
                self._log.exception("a quota's use could not be read from the ledger")

    async def _until_told(self) -> None:
        await self._lifeline.serving.wait()
        while (left_s := max(self._lifeline.back_s, self._lost_s) + TOLD_S - self._clock.monotonic_s()) > 0:
            await asyncio.sleep(left_s)
            await self._lifeline.serving.wait()

    def _doubt(self, quota: _Quota, one: Dimension, used: int, known: Known, now_ms: int) -> None:
        asked, period = self._asked.get(quota), quota[3]
        if asked is None:
            if used <= 0 or period.start_ms <= self._lost_ms:
                self._ask(quota, _Asked(-math.inf))
            return
        level = known.level(quota[0], one, now_ms)
        asked.suspected |= level is not None and 2 * used < level.amount
        now_s = self._clock.monotonic_s()
        if asked.suspected and now_s >= asked.again_s:
            self._ask(quota, _Asked(now_s + AGAIN_S))

    def _ask(self, quota: _Quota, asked: _Asked) -> None:
        if self._waiting.full():
            return
        self._asked[quota] = asked
        self._asked.move_to_end(quota)
        if len(self._asked) > MOST_KNOWN:
            self._asked.popitem(last=False)
        self._waiting.put_nowait(quota)

    async def _restore(self, quota: _Quota) -> None:
        organisation_id, subject, name, period = quota
        if self._ledger_usage is None:
            return
        user_id = subject.removeprefix("u:") if subject.startswith("u:") else None
        spent = await self._ledger_usage(organisation_id, user_id, period.start_ms)
        used = spent.of(KINDS[name][1])
        if used > 0:
            await self._store.seed(organisation_id, subject, name, period, used=used)
            self._news.restored()
