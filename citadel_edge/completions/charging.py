"""What a request may take of its caller's limits: reserved before any replica is asked, settled to what it took.

Decides how much that may be: the prompt by the model's learned ratio, the answer by its `max_tokens` or else by what
nine of ten answers of the model stay within, no more than the smallest of the caller's limits holds. A fallback to
another model takes no more than was reserved, or reserves the difference first; refused, that fallback is out. Refuses
to know how limits are counted.
"""

from decimal import Decimal
from typing import Final

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.accounts.principal import Principal
from citadel_edge.completions.asking import Asking
from citadel_edge.completions.job import Job
from citadel_edge.limits.claims import Claim, Decision, Part
from citadel_edge.limits.headers import limit_headers
from citadel_edge.limits.limiter import Limiter
from citadel_edge.limits.plan import Who
from citadel_edge.limits.refusals import refusal
from citadel_edge.limits.values import NOTHING, LimitName, Spent, nano_of
from citadel_edge.routing.models import Model

LEASE_S: Final = 30.0


def budget_usd(limiter: Limiter, principal: Principal) -> Decimal | None:
    """What the caller has left this month, as last known; null where nothing bounds it."""
    left = limiter.remaining_usd(principal.organisation_id, principal.user_id, principal.entitlement)
    return None if left is None else Decimal(repr(left))


class Charges:
    """One object a process."""

    def __init__(self, limiter: Limiter, asking: Asking) -> None:
        self._limiter = limiter
        self._asking = asking

    async def admit(self, job: Job, *, force: bool = False) -> None:
        """Reserve what the request may take of the model that is asked first; with `force`, whatever the limits say.

        Raises:
            RequestError: a limit refuses it; `job.denied` says which. Nothing is taken then.
        """
        model = job.models[job.rank]
        if not self._limiter.plan(_who(job, model)):
            return
        job.reserved = self._cost(job, model)
        decision = await self._reserve(job, model, job.reserved, Part.ALL, force=force)
        if not decision.allowed:
            raise refusal(decision)
        job.uncovered = {other.name for other in job.models[job.rank + 1 :] if self._needs_more(job, other)}

    async def take_over(self, job: Job, ids: tuple[str, ...]) -> None:
        """Take for it here what another process had taken for it and did not settle.

        What that one settled is charged already. What was let in once is not refused again, whoever has its room
        since: what it spends is charged.
        """
        if ids and not any([await self._limiter.take_back(one) for one in ids]):
            return
        await self.admit(job, force=True)

    def give_up(self, job: Job) -> None:
        """Give back what it took: it is another process's to charge."""
        for reservation, _ in job.reservations:
            self._limiter.release(reservation)
        job.reservations.clear()

    async def cover(self, job: Job) -> None:
        """Reserve what the models that are left may take beyond what is reserved; those that may not are out."""
        for model in job.models[job.rank :]:
            if model.name in job.uncovered and await self._cover(job, model):
                job.uncovered.discard(model.name)

    async def look(self, job: Job) -> Decision:
        """What would be decided for the request now; nothing is taken."""
        model = job.models[0]
        return await self._limiter.look(self._claim(job, model, self._cost(job, model), Part.ALL))

    def settle(self, job: Job) -> None:
        """Charge what the request took, once: its report says it. One that no replica was asked for took nothing."""
        report = job.report
        if report is None or not job.reservations:
            return
        tokens = report.tokens_in + report.tokens_out
        asked = job.trials or job.broken is not None
        spent = Spent(1, tokens, nano_of(report.cost_usd)) if asked else NOTHING
        for reservation, part in job.reservations:
            self._limiter.settle(reservation, NOTHING if part is Part.DOLLARS else spent, model=report.model)
        job.reservations.clear()

    async def _reserve(self, job: Job, model: Model, cost: Spent, part: Part, *, force: bool = False) -> Decision:
        decision = await self._limiter.reserve(self._claim(job, model, cost, part, force=force))
        if decision.reservation is not None:
            decision.reservation.progress = lambda: self._progress(job)
            job.reservations.append((decision.reservation, part))
            if job.call.on_reserved is not None:
                job.call.on_reserved(decision.reservation.id)
        if part is Part.ALL:
            job.denied = decision.denied
            job.limit_headers = limit_headers(decision.standings, degraded=decision.degraded)
        return decision

    async def _cover(self, job: Job, model: Model) -> bool:
        """The difference in dollars of the limits of all models, and all of the limits of this one."""
        cost = self._cost(job, model)
        more_usd = Spent(0, 0, max(0, cost.nano_usd - job.reserved.nano_usd))
        if more_usd.nano_usd:
            if not (await self._reserve(job, model, more_usd, Part.DOLLARS)).allowed:
                return False
            job.reserved = Spent(job.reserved.requests, job.reserved.tokens, cost.nano_usd)
        return (await self._reserve(job, model, cost, Part.MODEL)).allowed

    def _claim(self, job: Job, model: Model, cost: Spent, part: Part, *, force: bool = False) -> Claim:
        asked = self._asking.ask_for(job, model)
        kept = Spent(cost.requests, min(cost.tokens, asked.tokens_in), 0)
        who, tier = _who(job, model), job.call.principal.tier
        return Claim(who=who, tier=tier, cost=cost, kept=kept, part=part, ttl_s=LEASE_S, force=force)

    def _needs_more(self, job: Job, model: Model) -> bool:
        """Whether a fallback takes more than is reserved: of its own limits, or more dollars where these count."""
        plan = self._limiter.plan(_who(job, model))
        if any(one.model for one in plan):
            return True
        dollars = any(one.name is LimitName.USD_PER_MONTH for one in plan)
        return dollars and self._cost(job, model).nano_usd > job.reserved.nano_usd

    def _cost(self, job: Job, model: Model) -> Spent:
        """What the request may take of this model."""
        request, asked = job.call.request, self._asking.ask_for(job, model)
        tokens_out = self._asking.most_tokens_out(request, model.name)
        if request.max_tokens is None and (smallest := self._limiter.smallest(_who(job, model))):
            tokens_out = max(0, min(tokens_out, smallest - asked.tokens_in))
        cost_usd = self._asking.most_usd(model, (asked.tokens_in, tokens_out))
        return Spent(1, asked.tokens_in + tokens_out, nano_of(cost_usd))

    def _progress(self, job: Job) -> Spent:
        """What the request took until now: what stays taken if this process dies."""
        tokens = job.tokens(Outcome.CANCELLED, self._asking.ratios)
        return Spent(1, sum(tokens), nano_of(self._asking.charge_usd(job, tokens)))


def _who(job: Job, model: Model) -> Who:
    principal = job.call.principal
    return Who(
        organisation_id=principal.organisation_id,
        user_id=principal.user_id,
        entitlement=principal.entitlement,
        model=model.name,
        endpoint=job.call.endpoint,
    )
