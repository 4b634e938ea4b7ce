"""What is written of a request when it is over: its report, its row, its decision. Pure.

Decides how the facts of a job are told. Refuses to know who keeps them.
"""

from decimal import Decimal
from typing import Any

from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.completions.call import Report
from citadel_edge.completions.job import Job
from citadel_edge.routing.chooser import Choice
from citadel_edge.routing.decision import PREVIEW, Decision, Estimate


def report_of(
    job: Job,
    outcome: Outcome,
    *,
    tokens: tuple[int, int],
    cost_usd: Decimal,
    duration_ms: float,
    status: int | None,
    code: str | None,
) -> Report:
    """How a request ended. `tokens`: charged, in and out. Of one that a limit refused no decision is kept."""
    principal, first = job.call.principal, job.first_token_at
    decided = job.selection is not None and outcome is not Outcome.DENIED
    return Report(
        request_id=job.call.request_id,
        user_id=principal.user_id,
        tier=principal.tier,
        model=job.model_name,
        upstream=job.upstream,
        decision_id=job.decision_id if decided else None,
        attempts=len(job.attempts),
        tokens_in=tokens[0],
        tokens_out=tokens[1],
        ttft_ms=None if first is None else (first - job.started) * 1000,
        duration_ms=duration_ms,
        cost_usd=cost_usd,
        outcome=outcome,
        status=status,
        code=code,
    )


def row_of(job: Job, report: Report) -> UsageEvent:
    """Its one row in the ledger."""
    principal = job.call.principal
    return UsageEvent(
        event_id=job.id,
        request_id=report.request_id,
        organisation_id=principal.organisation_id,
        user_id=principal.user_id,
        key_id=principal.key_id,
        tier=report.tier,
        model=report.model,
        upstream=report.upstream,
        endpoint=job.call.endpoint,
        listener=job.call.listener.value,
        decision_id=report.decision_id,
        attempts=report.attempts,
        tokens_in=report.tokens_in,
        tokens_out=report.tokens_out,
        cost_usd=report.cost_usd,
        outcome=report.outcome,
        ttft_ms=report.ttft_ms,
        duration_ms=report.duration_ms,
        created_at=job.created_at,
    )


def decision_of(job: Job, report: Report, *, estimated_usd: Decimal) -> Decision:
    """Its way, with what was expected of it."""
    return _decision(
        job,
        job.first_choice,
        outcome=report.outcome.value,
        code=report.code,
        estimate=estimate_of(job, job.first_choice, estimated_usd),
        tokens_in=report.tokens_in,
        tokens_out=report.tokens_out,
        cost_usd=float(report.cost_usd),
        ttft_ms=report.ttft_ms,
        duration_ms=report.duration_ms,
    )


def preview(job: Job, choice: Choice | None, estimated_usd: Decimal) -> Decision:
    """What would be decided; nothing came of it."""
    return _decision(job, choice, outcome=PREVIEW, estimate=estimate_of(job, choice, estimated_usd))


def estimate_of(job: Job, choice: Choice | None, cost_usd: Decimal) -> Estimate:
    """What is expected of a request that goes where `choice` says."""
    place = choice.deployment if choice is not None else None
    placed = place is not None
    ask = job.ask if place is None else job.asks.get(place.name, job.ask)
    return Estimate(
        tokens_in=ask.tokens_in,
        tokens_out=ask.tokens_out,
        cost_usd=float(cost_usd),
        ttft_s=choice.predicted_ttft_s if choice is not None and placed else None,
        total_s=choice.predicted_total_s if choice is not None and placed else None,
    )


def _decision(job: Job, choice: Choice | None, *, outcome: str, estimate: Estimate, **facts: Any) -> Decision:
    selection = job.selection
    deployment = choice.deployment if choice is not None else None
    return Decision(
        id=job.decision_id,
        request_id=job.call.request_id,
        user_id=job.call.principal.user_id,
        asked=job.call.request.model,
        model=job.model_name,
        strategy=job.strategy.value,
        candidates=job.candidates,
        chosen=deployment.row.id if deployment is not None else None,
        attempts=tuple(job.attempts),
        outcome=outcome,
        at=job.created_at.timestamp(),
        objective=selection.objective.value if selection is not None else None,
        features=job.features,
        considered=selection.considered if selection is not None else (),
        panic=choice is not None and choice.panic,
        estimate=estimate,
        **facts,
    )
