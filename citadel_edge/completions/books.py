"""Everything that is made good when something ends: load given back, row written, decision told, counters counted.

All of it is synchronous, so that it happens whole also after a cancellation, and all of it may be repeated: the second
time does nothing. Decides what a request cost. Refuses to know why it ended.
"""

from decimal import Decimal
from typing import Protocol

from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.completions.call import Report
from citadel_edge.completions.decisions import Decisions
from citadel_edge.completions.estimate import TokenRatios
from citadel_edge.completions.job import Job
from citadel_edge.completions.metrics import UNKNOWN_MODEL, CompletionMetrics
from citadel_edge.errors import UpstreamError
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.table import Verdict
from citadel_edge.routing.candidates import STRATEGY
from citadel_edge.routing.decision import Attempt, Decision
from citadel_edge.telemetry.clock import Clock


class Recorder(Protocol):
    """The usage ledger, as much of it as is needed here."""

    def check_room(self) -> None:
        """Refuse new work while its rows could not be kept: RequestError OVERLOADED."""

    def record(self, event: UsageEvent) -> None:
        """Keep a row: safe from this process's death when it returns."""


class Books:
    """Keeps the accounts of every job."""

    def __init__(
        self, *, ledger: Recorder, fleet: Fleet, decisions: Decisions, clock: Clock, metrics: CompletionMetrics
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._decisions = decisions
        self._clock = clock
        self._metrics = metrics
        self._ratios = TokenRatios()

    def end_trial(
        self,
        job: Job,
        verdict: Verdict,
        outcome: str,
        *,
        error: UpstreamError | None = None,
        cooldown_s: float = 0.0,
    ) -> None:
        """The call under way, if there is one, is over: its load goes back, its replica is judged."""
        trial = job.trial
        if trial is None or not trial.ticket.open:
            return
        self._fleet.give_back(trial.ticket, verdict, cooldown_s=cooldown_s)
        job.attempts.append(
            Attempt(
                upstream=trial.upstream,
                outcome=outcome,
                status=error.status if error else trial.answer.status if trial.answer else None,
                detail=str(error) if error else None,
                duration_ms=self._since_ms(trial.began),
            )
        )

    def settle(self, job: Job, outcome: Outcome, *, status: int | None, code: str | None = None) -> None:
        """The request is over: its one row, its decision, its counts. Call it before the answer's last bytes."""
        if job.report is not None:
            return
        verdict = Verdict.OK if outcome is Outcome.DONE else Verdict.NONE
        self.end_trial(job, verdict, outcome.value)
        tokens_in, tokens_out = job.tokens(outcome, self._ratios)
        cost_usd = job.model.cost_usd(tokens_in, tokens_out) if job.model else Decimal(0)
        principal = job.call.principal
        report = job.report = Report(
            request_id=job.call.request_id,
            user_id=principal.user_id,
            tier=principal.tier,
            model=job.model_name,
            upstream=job.trial.upstream if job.trial else None,
            decision_id=job.decision_id if job.model else None,
            attempts=len(job.attempts),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            ttft_ms=None if job.first_token_at is None else (job.first_token_at - job.started) * 1000,
            duration_ms=self._since_ms(job.started),
            cost_usd=cost_usd,
            outcome=outcome,
            status=status,
            code=code,
        )
        self._ledger.record(_row(job, report))
        self._tell(job, report)

    def close(self, job: Job) -> None:
        """The one `finally`: whatever is still open when a request leaves, its client left open."""
        if job.trial:
            job.trial.let_go()
        self.settle(job, Outcome.CANCELLED, status=None)

    def _tell(self, job: Job, report: Report) -> None:
        listener, model = job.call.listener, job.model
        name = model.name if model else UNKNOWN_MODEL
        self._metrics.ended(listener, strategy=STRATEGY, model=name, upstream=report.upstream, outcome=report.outcome)
        self._metrics.tokens(listener, model=name, tokens_in=report.tokens_in, tokens_out=report.tokens_out)
        if model:
            self._decisions.add(_decision(job, report))
            if report.outcome is Outcome.DONE:
                prompt_bytes = job.call.request.prompt_bytes
                self._ratios.observe(name, prompt_bytes=prompt_bytes, tokens=report.tokens_in)
        if job.call.on_end:
            job.call.on_end(report)

    def _since_ms(self, start: float) -> float:
        return (self._clock.monotonic_s() - start) * 1000


def _row(job: Job, report: Report) -> UsageEvent:
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


def _decision(job: Job, report: Report) -> Decision:
    return Decision(
        id=job.decision_id,
        request_id=report.request_id,
        user_id=report.user_id,
        asked=job.call.request.model,
        model=report.model,
        strategy=STRATEGY,
        candidates=job.candidates,
        chosen=job.chosen,
        attempts=tuple(job.attempts),
        outcome=report.outcome.value,
        at=job.created_at.timestamp(),
    )
