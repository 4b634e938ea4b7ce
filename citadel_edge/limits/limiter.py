"""The limiter: one question before a request, one settlement after it.

Decides nothing about limits itself: what counts is `plan`'s, whether it fits the script's (or, while Redis is away, its
twin's), and who is asked `deciding`'s. Sees to it that what was taken is settled once. Never fails because of Redis.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.entitlement import Entitlement
from citadel_edge.limits.by_id import GIVEN_BACK
from citadel_edge.limits.claims import Bill, Claim, Decision, Home, LimiterState, Reservation
from citadel_edge.limits.left_behind import LeftBehind
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.limits.open_reservations import reservation_id
from citadel_edge.limits.parts import Parts, Worker
from citadel_edge.limits.plan import Who
from citadel_edge.limits.restoring import LedgerUsage
from citadel_edge.limits.standings import remaining
from citadel_edge.limits.values import NANO, NOTHING, Dimension, Ended, Level, LimitName, Order, Spent, Standing
from citadel_edge.limits.verdicts import smallest, too_large
from citadel_edge.storage.instances import Instances
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub

FLUSH_S: Final = 1.0
STUMBLE_S: Final = 1.0
LOOK_TOGETHER: Final = 16
"""So many models and endpoints are looked at in one question."""
LOOKS_AT_ONCE: Final = 4
_UNLIMITED: Final = Decision(allowed=True)


class Limiter:
    """Reserve, settle, look. Belongs to one event loop; `run` is its worker and must be running.

    `ledger_usage` is asked for quotas that Redis has lost.
    """

    def __init__(
        self,
        redis: RedisPool,
        *,
        deadline_s: float,
        instances: Instances,
        clock: Clock,
        hub: Hub,
        log: FilteringBoundLogger,
        metrics: LimitsMetrics,
        ledger_usage: LedgerUsage | None = None,
    ) -> None:
        self._clock = clock
        self._log = log
        self._deadline_s = deadline_s
        self._instances = instances
        self._parts = parts = Parts(
            redis,
            deadline_s=deadline_s,
            instances=instances,
            clock=clock,
            hub=hub,
            log=log,
            metrics=metrics,
            ledger_usage=ledger_usage,
        )
        self._lifeline = parts.lifeline
        self._time = parts.time
        self._plans = parts.plans
        self._deciding = parts.deciding
        self._endings = parts.endings
        self._news = parts.news
        self._left_behind = LeftBehind(
            parts.store,
            parts.open_,
            settling=parts.settling,
            endings=parts.endings,
            lifeline=parts.lifeline,
            clock=clock,
        )
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)

    @property
    def degraded(self) -> bool:
        """Whether it decides without Redis now."""
        return not self._lifeline.serves

    async def reserve(self, claim: Claim) -> Decision:
        """Take what the claim asks for, or say why not. At most one round trip, within the deadline; never raises.

        A claim that is not `held` is reserved although nothing limits the caller, so that it can be settled by its id.
        One that is to be taken by `force` is always allowed.
        """
        began_s = self._clock.monotonic_s()
        until_s = began_s + self._deadline_s
        order = self._order(claim, began_s, until_s)
        if order is None:
            decision = _UNLIMITED
        else:
            decision, order, home = await self._deciding.take(claim, order, until_s)
            if decision.allowed:
                decision = replace(decision, reservation=self._opened(claim, order, home, began_s))
        self._news.decided(claim, decision, began_s)
        return decision

    async def look(self, claim: Claim) -> Decision:
        """As `reserve`, taking nothing."""
        began_s = self._clock.monotonic_s()
        order = self._order(claim, began_s, began_s + self._deadline_s)
        return _UNLIMITED if order is None else await self._deciding.look(claim, order)

    async def look_all(self, callers: Sequence[Who]) -> Decision:
        """How the limits of all these stand, of one user on any models and endpoints, each limit once.

        Asked for in a few parts, one after the other, and by a few users at a time: pages of quotas hold up no claim.
        Where Redis did not answer it is `degraded`, and the limits behind that part are missing.
        """
        standings: dict[tuple[str, str], Standing] = {}
        degraded = False
        async with self._looks:
            for start in range(0, len(callers), LOOK_TOGETHER):
                who, *also = callers[start : start + LOOK_TOGETHER]
                looked = await self.look(Claim(who=who, also=tuple(also), cost=NOTHING))
                standings |= {(one.name, one.scope): one for one in looked.standings}
                degraded = looked.degraded
                if degraded:
                    break
        return Decision(allowed=True, standings=tuple(standings.values()), degraded=degraded)

    def plan(self, who: Who) -> tuple[Dimension, ...]:
        """The limits that a request is held against now; none is no limit."""
        return self._plans.of(who, self._time.now_ms())

    def smallest(self, who: Who) -> int | None:
        """The most tokens that one request may ever ask for; null is no limit. Known at once."""
        return smallest(self.plan(who))

    def too_large(self, claim: Claim) -> bool:
        """Whether it asks for more tokens than it could ever be granted, as far as is known at once."""
        now_ms, known = self._time.now_ms(), self._parts.known
        plan = claim.plan(self._plans, now_ms)
        levels = known.of(claim.who.organisation_id, plan, now_ms)
        return too_large(claim.cost.tokens, plan, levels) is not None

    def remaining_usd(self, organisation_id: str, user_id: str, entitlement: Entitlement) -> float | None:
        """Dollars that are left this month, as last known; null is no limit."""
        now_ms = self._time.now_ms()
        plan = self._plans.of(Who(organisation_id=organisation_id, user_id=user_id, entitlement=entitlement), now_ms)
        quotas = [one for one in plan if one.name is LimitName.USD_PER_MONTH]
        left = [remaining(one, self._parts.known.level(organisation_id, one, now_ms) or Level(0)) for one in quotas]
        return min(left) / NANO if left else None

    def settle(self, reservation: Reservation, spent: Spent, model: str = "") -> None:
        """What it took in the end, served by `model`; the difference is given back or taken. Twice is once.

        Never waits: it is sent with others of this turn of the loop, and again after an outage.
        """
        self._endings.settle(reservation, spent, model)

    def release(self, reservation: Reservation) -> None:
        """Give back all of it."""
        self.settle(reservation, NOTHING)

    async def take_back(self, reservation_id: str) -> bool:
        """Give back what a request held in a process that died, for whoever goes on with it; never raises.

        False: that process had ended it. While Redis is away it is believed that it had not, and given back later.
        """
        return await self._left_behind.take_back(reservation_id)

    async def settle_id(self, reservation_id: str, bill: Bill) -> Ended | None:
        """Settle by id alone; null: accepted, and carried out when Redis is back and knows it.

        Raises:
            RequestError: NOT_FOUND, nobody knows it or it has ended; OVERLOADED, too many wait for Redis.
        """
        return await self._parts.by_id.settle(reservation_id, bill)

    async def release_id(self, reservation_id: str) -> Ended | None:
        """Give back all of it; as `settle_id`."""
        return await self._parts.by_id.settle(reservation_id, GIVEN_BACK)

    async def renew_id(self, reservation_id: str, ttl_s: float, kept: Callable[[bytes], Spent] | None = None) -> bool:
        """Let it live `ttl_s` from now; False: accepted, and carried out when Redis is back and knows it.

        `kept` says, given what the claim carried, what stays if it is not settled; null: as before.

        Raises:
            RequestError: as `settle_id`.
        """
        return await self._parts.by_id.renew(reservation_id, ttl_s, kept)

    def state(self) -> LimiterState:
        """A glance for health."""
        if not self.degraded:
            return LimiterState(False, f"limits are decided by Redis{self._news.lately()}")
        share = f"1/{self._instances.last_known}" if self._instances.last_known > 1 else "all"
        return LimiterState(True, f"limits are decided without Redis, {share} of each here: {self._lifeline.reason}")

    async def run(self) -> None:
        """Renew, settle, sweep, come back from outages; when cancelled, what is left to settle is sent within 2 s."""
        parts = self._parts
        try:
            async with asyncio.TaskGroup() as group:
                for worker in parts.workers:
                    group.create_task(self._steadily(worker), name=f"limits {type(worker).__name__}")
        finally:
            await parts.settling.flush(FLUSH_S)
            await parts.elsewhere.flush(FLUSH_S)

    async def _steadily(self, worker: Worker) -> None:
        """Claims go on being decided whatever a worker stumbles over."""
        while True:
            try:
                await worker.run()
            except Exception:
                self._log.exception("a worker of the limiter failed in a way nobody foresaw")
                await asyncio.sleep(STUMBLE_S)

    def _order(self, claim: Claim, began_s: float, until_s: float) -> Order | None:
        """What is asked for; null where there is nothing to ask."""
        who = claim.who
        plan = claim.plan(self._plans, self._time.at_ms(began_s))
        if not plan and claim.held:
            return None
        return Order(
            reservation=reservation_id(who.organisation_id, self._clock),
            organisation_id=who.organisation_id,
            dimensions=plan,
            cost=claim.cost,
            kept=claim.kept,
            ttl_ms=round(claim.ttl_s * 1000),
            leases=claim.leases,
            held=claim.held,
            force=claim.force,
            not_after_ms=self._time.at_ms(until_s),
            meta=claim.meta,
        )

    def _opened(self, claim: Claim, order: Order, home: Home, began_s: float) -> Reservation:
        reservation = Reservation(
            id=order.reservation,
            order=order,
            began_s=began_s,
            expires_s=began_s + claim.ttl_s,
            held=claim.held,
            tier=claim.tier,
            home=home,
        )
        if home is Home.LOCAL:
            self._parts.owed.took(order, self._time.now_ms())
        self._parts.open_.add(reservation)
        self._parts.sweeper.seen(order.organisation_id, began_s)
        return reservation
