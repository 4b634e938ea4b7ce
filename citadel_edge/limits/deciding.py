"""Who decides a claim: what is known already, Redis, or this instance alone.

Decides in this order: a request larger than a limit, and a denial that still holds, need nobody; else Redis, if it
serves and answers in time; else our own share of the limits. What is taken by force none of these denies. Refuses to
know what is done with a decision.
"""

from functools import partial

from msgspec.structs import replace

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.asking import Asking
from citadel_edge.limits.claims import Claim, Decision, Home, Reason
from citadel_edge.limits.denials import Denials
from citadel_edge.limits.known import Known
from citadel_edge.limits.lifeline import Lifeline
from citadel_edge.limits.local_store import LocalStore
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.limits.plan import Plans
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.restoring import Restoring
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.limits.settling import Settling
from citadel_edge.limits.standings import standings
from citadel_edge.limits.values import Answer, Order, Verdict
from citadel_edge.limits.verdicts import (
    closed_without,
    denial,
    denial_of_shares,
    largest,
    refused,
    shares,
    too_large,
)


class Deciding:
    """Decisions about orders."""

    def __init__(
        self,
        store: RedisStore,
        local: LocalStore,
        *,
        asking: Asking,
        lifeline: Lifeline,
        settling: Settling,
        restoring: Restoring,
        known: Known,
        denials: Denials,
        plans: Plans,
        time: ServerTime,
        metrics: LimitsMetrics,
    ) -> None:
        self._store = store
        self._local = local
        self._asking = asking
        self._lifeline = lifeline
        self._settling = settling
        self._restoring = restoring
        self._known = known
        self._plans = plans
        self._time = time
        self._metrics = metrics
        self._denials = denials

    async def take(self, claim: Claim, order: Order, until_s: float) -> tuple[Decision, Order, Home]:
        """The decision, the order as it was decided in the end, and who has it on record if it is allowed.

        Cancelled, or without an answer and denied here, what Redis may have taken until `until_s` is given back.
        """
        decision = None if order.force else self._at_once(order)
        if decision is not None:
            self._metrics.denied_at_once.inc()
            return decision, order, Home.LOCAL
        if not self._lifeline.serves:
            return *self._alone(claim, order), Home.LOCAL
        try:
            order, answer = await self._asking.ask(self._store.reserve, claim, order)
        except RedisUnavailable:
            decision, order = self._alone(claim, order)
            if not decision.allowed:
                self._settling.undo(order, until_s)
            return decision, order, Home.UNCERTAIN
        except BaseException:
            self._settling.undo(order, until_s)
            raise
        return self._by_redis(order, answer, took=True), order, Home.REDIS

    async def look(self, claim: Claim, order: Order) -> Decision:
        """The same without taking anything; a look in vain says nothing of whether Redis serves claims."""
        if self._lifeline.serves:
            try:
                order, answer = await self._asking.look(self._store.read, claim, order)
            except RedisUnavailable:
                pass
            else:
                return self._by_redis(order, answer, took=False)
        return self._alone(claim, order, take=False)[0]

    def _at_once(self, order: Order) -> Decision | None:
        """What needs nobody's answer."""
        now_ms, tokens = self._time.now_ms(), order.cost.tokens
        levels = partial(self._known.of, order.organisation_id, order.dimensions, now_ms)
        if tokens and any(one.counts_tokens and tokens > largest(one) for one in order.dimensions):
            place = too_large(tokens, order.dimensions, levels())
            if place is not None:
                return refused(order, levels(), now_ms, place, Reason.TOO_LARGE)
        answer = self._denials.of(order, now_ms, levels)
        return None if answer is None else denial(order, answer)

    def _by_redis(self, order: Order, answer: Answer, *, took: bool) -> Decision:
        self._restoring.look(order, answer, self._known, took=took)
        self._known.learn(order, answer)
        if answer.verdict is Verdict.ADMITTED:
            return Decision(allowed=True, standings=standings(order, answer))
        self._denials.note(order, answer)
        return denial(order, answer)

    def _alone(self, claim: Claim, order: Order, *, take: bool = True) -> tuple[Decision, Order]:
        """By our share of the limits as they are now."""
        now_ms = self._time.now_ms()
        order = replace(order, dimensions=claim.plan(self._plans, now_ms))
        find = partial(self._known.level, order.organisation_id, now_ms=now_ms)
        place = None if order.force else closed_without(order, claim.who.entitlement, find)
        if place is not None:
            return refused(
                order, self._known.of(order.organisation_id, order.dimensions, now_ms), now_ms, place, Reason.AWAY
            ), order
        shared, answer = (self._local.reserve if take else self._local.read)(order, now_ms)
        shown = shares(order, shared, answer, find)
        if answer.verdict is Verdict.ADMITTED:
            return Decision(allowed=True, standings=shown, degraded=True), order
        return denial_of_shares(shown), order
