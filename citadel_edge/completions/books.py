"""Everything that is made good when something ends: load given back, row written, decision told, counters counted.

All of it is synchronous, so that it happens whole also after a cancellation, and all of it may be repeated: the second
time does nothing. Refuses to know why something ended, and how the facts are told: that is `recording`.
"""

from typing import Final, Protocol

from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.completions.asking import Asking
from citadel_edge.completions.call import Report
from citadel_edge.completions.charging import Charges
from citadel_edge.completions.decisions import Decisions
from citadel_edge.completions.job import Job, Trial
from citadel_edge.completions.metrics import UNKNOWN_MODEL, CompletionMetrics
from citadel_edge.completions.recording import decision_of, report_of, row_of
from citadel_edge.errors import RequestError, UpstreamError, UpstreamFault
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.table import Scope, Verdict
from citadel_edge.routing.decision import Attempt
from citadel_edge.telemetry.clock import Clock

_OF_THE_MODEL: Final = frozenset({UpstreamFault.STATUS, UpstreamFault.MALFORMED})
"""Faults of an upstream that answers: they may be one model's alone."""


class Recorder(Protocol):
    """The usage ledger, as much of it as is needed here."""

    def check_room(self) -> None:
        """Refuse new work while its rows could not be kept: RequestError OVERLOADED."""

    def record(self, event: UsageEvent) -> None:
        """Keep a row: safe from this process's death when it returns."""

    def record_denial(self, denial: UsageEvent, *, limit: str) -> None:
        """Count a refused request on the row of its user, limit and minute."""


class Books:
    """Keeps the accounts of every job."""

    def __init__(
        self,
        *,
        ledger: Recorder,
        fleet: Fleet,
        decisions: Decisions,
        asking: Asking,
        charges: Charges,
        clock: Clock,
        metrics: CompletionMetrics,
    ) -> None:
        self._charges = charges
        self._ledger = ledger
        self._fleet = fleet
        self._decisions = decisions
        self._asking = asking
        self._clock = clock
        self._metrics = metrics

    def end_trial(
        self,
        job: Job,
        trial: Trial,
        verdict: Verdict,
        outcome: str,
        *,
        error: UpstreamError | None = None,
        cooldown_s: float = 0.0,
    ) -> None:
        """A call is over: its load goes back, its replica is judged."""
        if not trial.ticket.open:
            return
        self._fleet.give_back(
            trial.ticket,
            verdict,
            cooldown_s=cooldown_s,
            tokens_out=trial.generated if verdict is Verdict.OK else None,
            scope=Scope.MODEL if error is not None and error.fault in _OF_THE_MODEL else Scope.UPSTREAM,
        )
        job.attempts.append(
            Attempt(
                upstream=trial.upstream,
                outcome=outcome,
                status=error.status if error else trial.answer.status if trial.answer else None,
                detail=str(error) if error else None,
                duration_ms=self._since_ms(trial.began),
                mark=trial.mark,
                model=trial.model.name,
                ttft_ms=None if trial.first_token_at is None else (trial.first_token_at - trial.began) * 1000,
            )
        )

    def settle(self, job: Job, outcome: Outcome, *, status: int | None, code: str | None = None) -> None:
        """The request is over: its one row, its decision, its counts. Call it before the answer's last bytes.

        One that another process has taken over is recorded there.
        """
        if job.report is not None:
            return
        if job.trial is not None:
            verdict = Verdict.OK if outcome is Outcome.DONE else Verdict.NONE
            self.end_trial(job, job.trial, verdict, outcome.value)
        report = self._report(job, outcome, status=status, code=code)
        tenure = job.call.tenure
        if tenure is not None and tenure.lost:
            self._charges.give_up(job)
            if job.call.on_end:
                job.call.on_end(report)
            return
        self._charges.settle(job)
        self._ledger.record(row_of(job, report))
        self._count(job)

    def deny(self, job: Job, error: RequestError) -> None:
        """A limit refused the request: it costs nobody anything, and one row stands for all such of a minute."""
        if job.denied is None:
            return
        report = self._report(job, Outcome.DENIED, status=error.code.status, code=error.code.text)
        self._ledger.record_denial(row_of(job, report), limit=job.denied.name.value)
        if job.call.on_end:
            job.call.on_end(report)

    def _report(self, job: Job, outcome: Outcome, *, status: int | None, code: str | None) -> Report:
        tokens = job.tokens(outcome, self._asking.ratios)
        job.report = report_of(
            job,
            outcome,
            tokens=tokens,
            cost_usd=self._asking.charge_usd(job, tokens),
            duration_ms=self._since_ms(job.started),
            status=status,
            code=code,
        )
        return job.report

    def close(self, job: Job) -> None:
        """The one `finally`: whatever is still open when a request leaves, its client left open."""
        for trial in job.trials:
            trial.let_go()
            if trial is not job.trial:
                self.end_trial(job, trial, Verdict.NONE, Outcome.CANCELLED.value)
        self.settle(job, Outcome.CANCELLED, status=None)

    def _count(self, job: Job) -> None:
        report = job.report
        if report is None:
            return
        listener = job.call.listener
        name = report.model if job.selection else UNKNOWN_MODEL
        self._metrics.ended(
            listener, strategy=job.strategy, model=name, upstream=report.upstream, outcome=report.outcome
        )
        self._metrics.tokens(listener, model=name, tokens_in=report.tokens_in, tokens_out=report.tokens_out)
        if job.selection is not None:
            self._decisions.add(decision_of(job, report, estimated_usd=self._asking.cost_usd(job, job.first_choice)))
            if report.outcome is Outcome.DONE:
                self._learn(job)
        if job.call.on_end:
            job.call.on_end(report)

    def _learn(self, job: Job) -> None:
        """How right were we?"""
        report, trial = job.report, job.trial
        if report is None or trial is None:
            return
        ratio = self._asking.learn(job, tokens_in=report.tokens_in, tokens_out=report.tokens_out)
        ttft_ms, expected_s = job.attempts[-1].ttft_ms if job.attempts else None, trial.choice.predicted_ttft_s
        self._metrics.predicted(
            report.model,
            tokens_ratio=ratio,
            ttft_ratio=expected_s * 1000 / ttft_ms if ttft_ms and expected_s is not None else None,
        )

    def _since_ms(self, start: float) -> float:
        return (self._clock.monotonic_s() - start) * 1000
