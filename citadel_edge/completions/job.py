"""The state of one request under way, and of the one call to a replica it is making. Owned by the pipeline.

Decides what of it is charged. Refuses to act: nothing here calls, writes or tells.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.call import Call, Report
from citadel_edge.completions.estimate import TokenRatios
from citadel_edge.completions.relay import Relay
from citadel_edge.fleet.answer import UpstreamAnswer
from citadel_edge.fleet.table import Deployment, Ticket
from citadel_edge.routing.candidates import Candidate
from citadel_edge.routing.decision import Attempt
from citadel_edge.routing.models import Model
from citadel_edge.routing.retry import Failure, Judgement
from citadel_edge.wire.openai import Usage


@dataclass(slots=True, eq=False)
class Trial:
    """One call of one replica. `began` is in monotonic seconds."""

    deployment: Deployment
    ticket: Ticket
    began: float
    answer: UpstreamAnswer | None = None

    @property
    def upstream(self) -> str:
        """The replica's id."""
        return self.deployment.row.id

    def let_go(self) -> None:
        """Cut the connection unless the answer is finished. At once, and safe to repeat."""
        if self.answer is not None:
            self.answer.abort()


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """One request.

    Attributes:
        started: monotonic seconds.
        due: the event loop's time at which the whole is over.
        judgement: what the last failure said.
        tried: replicas that failed this request, and whether each may be asked once more.
        trial: the last call made; `trial.ticket.open` while it is under way.
        relay, usage, first_token_at: what the last call's answer says so far.
        held: bytes of whole answers that the caller was asked to hold.
        answer_begun: a part of the answer, not only headers and heartbeats, may have reached the client.
        report: set when the request is settled, once.
    """

    call: Call
    id: UUID
    started: float
    created_at: datetime
    due: float
    model: Model | None = None
    candidates: tuple[Candidate, ...] = ()
    chosen: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    judgement: Judgement | None = None
    tried: dict[str, bool] = field(default_factory=dict)
    trial: Trial | None = None
    relay: Relay | None = None
    usage: Usage | None = None
    first_token_at: float | None = None
    held: int = 0
    answer_begun: bool = False
    report: Report | None = None

    @property
    def decision_id(self) -> str:
        """The decision's public name."""
        return f"dec_{self.id.hex}"

    @property
    def model_name(self) -> str:
        """The model's own name, or what the client asked for when there is none of that name."""
        return self.model.name if self.model else self.call.request.model

    def attempts_made(self) -> int:
        """Calls made, the one under way included."""
        return len(self.attempts) + bool(self.trial and self.trial.ticket.open)

    def forget_answer(self) -> None:
        """What an earlier call's answer said is nothing to the next one: none of it reached the client."""
        self.relay = self.usage = self.first_token_at = None

    def hold(self, n_bytes: int) -> None:
        """Hold so much of a whole answer; an earlier call's part, let go since, makes room for it.

        Raises:
            RequestError: the caller may not hold more.
        """
        if n_bytes > self.held:
            self.call.hold(n_bytes - self.held)
            self.held = n_bytes

    def headers(self) -> dict[str, str]:
        """What is known of the decision, for the answer's headers."""
        if self.model is None:
            return {}
        known = {
            "X-Citadel-Decision": self.decision_id,
            "X-Citadel-Model": self.model.name,
            "X-Citadel-Attempts": str(self.attempts_made()),
        }
        if self.trial:
            known["X-Citadel-Upstream"] = self.trial.upstream
        return known

    def tokens(self, outcome: Outcome, ratios: TokenRatios) -> tuple[int, int]:
        """What is charged, in and out: what the engine counted, else what was seen and an estimate.

        An answer that failed before any of it reached the client is free; one that the client left is not.
        """
        if self.trial is None or (outcome is Outcome.ERROR and not self.answer_begun):
            return 0, 0
        usage = self.relay.usage if self.relay else self.usage
        if usage:
            return usage.prompt_tokens or 0, usage.completion_tokens or 0
        prompt_bytes = self.call.request.prompt_bytes
        tokens_in = ratios.estimate(self.model_name, prompt_bytes=prompt_bytes)
        return tokens_in, self.relay.content_chunks if self.relay else 0
