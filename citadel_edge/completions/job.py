"""The state of one request under way, and of the calls to replicas it makes. Owned by the pipeline.

Decides what of it is charged. Refuses to act: nothing here calls, writes or tells.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.call import Call, Report
from citadel_edge.completions.continuation import forbidden
from citadel_edge.completions.estimate import TokenRatios
from citadel_edge.completions.relay import Relay
from citadel_edge.completions.waiting import Waiter
from citadel_edge.config.shape import StrategyName
from citadel_edge.errors import CitadelError, UpstreamError
from citadel_edge.fleet.answer import UpstreamAnswer
from citadel_edge.fleet.table import Deployment, Ticket
from citadel_edge.limits.claims import Part, Reservation
from citadel_edge.limits.values import NOTHING, Spent, Standing
from citadel_edge.routing.ask import Ask
from citadel_edge.routing.candidates import Candidate
from citadel_edge.routing.chooser import Choice
from citadel_edge.routing.decision import Attempt, Mark
from citadel_edge.routing.features import Features
from citadel_edge.routing.models import Model, Selection
from citadel_edge.routing.objective import AUTO, is_auto
from citadel_edge.routing.retry import Failure, Judgement
from citadel_edge.wire.openai import Usage


@dataclass(slots=True, eq=False, kw_only=True)
class Trial:
    """One call of one replica.

    Attributes:
        model: the model it is made for; a fallback's is not the request's first.
        began: monotonic seconds.
        before: tokens of the answer's parts that were there when it was made.
        relay, usage, first_token_at: what its answer says so far.
        opening: the wait for the answer's status, while it lasts.
        lost: why nobody waits for it any more.
    """

    deployment: Deployment
    model: Model
    ticket: Ticket
    began: float
    choice: Choice
    mark: Mark = Mark.FIRST
    before: int = 0
    answer: UpstreamAnswer | None = None
    relay: Relay | None = None
    usage: Usage | None = None
    first_token_at: float | None = None
    opening: asyncio.Timeout | None = None
    lost: CitadelError | None = None

    @property
    def upstream(self) -> str:
        """The replica's id."""
        return self.deployment.row.id

    @property
    def generated(self) -> int | None:
        """Tokens of its own answer so far; None where nobody told."""
        if self.relay is not None:
            return self.relay.generated - self.before
        return self.usage.completion_tokens if self.usage else None

    def lose(self, error: CitadelError) -> None:
        """Nobody shall wait for it any more: whoever does gets this error. From outside, at any time."""
        if self.lost is not None:
            return
        self.lost = error
        if self.answer is not None:
            self.answer.fail(error)
        elif self.opening is not None:
            self.opening.reschedule(asyncio.get_running_loop().time())

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
        features, ask: what it needs of a model, and what it asks of a replica of the one asked at present.
        asks: by model, what it asks of a replica, once that was found out.
        selection: the models that may answer it, best first; `rank` is the one asked at present.
        choices: by model, what was decided when it was looked at first; `latest`: when they were looked at last.
        waiter: its place among those that wait for a replica with room, once it had to.
        calls: of the model asked at present, those that count against its retries.
        strategy: by which replicas were chosen.
        judgement: what the last failure said.
        retries_spent: it would be asked again, were the budget for that not used up.
        tried: replicas that failed this request, and whether each may be asked once more.
        trial: the call that counts; `trials` are all that were made.
        broken: what is known of an answer that broke off when a part of it had reached the client; `broken_by`: how.
        held: bytes of whole answers that the caller was asked to hold.
        answer_begun: a part of the answer, not only headers and heartbeats, may have reached the client.
        first_token_at: monotonic seconds of the first token that reached the client.
        reservations: what it has of its caller's limits, and of which of them; `reserved`: how much altogether.
        uncovered: models that may take more than is reserved. denied: the limit that refused it.
        report: set when the request is settled, once.
    """

    call: Call
    id: UUID
    started: float
    created_at: datetime
    due: float
    features: Features | None = None
    ask: Ask = field(default_factory=Ask)
    asks: dict[str, Ask] = field(default_factory=dict)
    selection: Selection | None = None
    rank: int = 0
    choices: dict[str, Choice] = field(default_factory=dict)
    latest: list[Choice] = field(default_factory=list)
    waiter: Waiter | None = None
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    calls: int = 0
    strategy: StrategyName = StrategyName.ADAPTIVE
    judgement: Judgement | None = None
    retries_spent: bool = False
    tried: dict[str, bool] = field(default_factory=dict)
    trial: Trial | None = None
    trials: list[Trial] = field(default_factory=list)
    broken: Relay | None = None
    broken_by: UpstreamError | None = None
    held: int = 0
    answer_begun: bool = False
    first_token_at: float | None = None
    reservations: list[tuple[Reservation, Part]] = field(default_factory=list)
    reserved: Spent = NOTHING
    uncovered: set[str] = field(default_factory=set)
    denied: Standing | None = None
    limit_headers: dict[str, str] = field(default_factory=dict)
    report: Report | None = None

    @property
    def decision_id(self) -> str:
        """The decision's public name."""
        return f"dec_{self.id.hex}"

    @property
    def models(self) -> tuple[Model, ...]:
        """Those that may answer, best first."""
        return self.selection.ranked if self.selection else ()

    @property
    def queue(self) -> str:
        """Where it waits while all are full: with those that ask for the same model, or leave the choice to us."""
        asked = self.call.request.model
        return AUTO if is_auto(asked) or not self.models else self.models[0].name

    @property
    def model(self) -> Model | None:
        """The one asked at present; None before any was found."""
        return self.selection.ranked[self.rank] if self.selection else None

    @property
    def model_name(self) -> str:
        """The own name of the model that was called last or is to be; what the client asked for when there is none."""
        if self.trial is not None:
            return self.trial.model.name
        earlier = self.call.earlier.model if self.call.earlier else ""
        return self.selection.ranked[self.rank].name if self.selection else earlier or self.call.request.model

    @property
    def upstream(self) -> str | None:
        """The replica that was called last."""
        if self.trial is not None:
            return self.trial.upstream
        return (self.call.earlier.upstream or None) if self.call.earlier else None

    @property
    def wanted(self) -> str | None:
        """The model that was named; where the choice is ours the one that was asked first, if one was."""
        if is_auto(self.call.request.model):
            return self.trials[0].model.name if self.trials else None
        considered = self.selection.considered if self.selection else ()
        return considered[0].name if considered else self.model_name

    @property
    def waits(self) -> bool:
        """Whether it is in no replica's hands."""
        return bool(self.latest) and not any(trial.ticket.open for trial in self.trials)

    @property
    def continuable(self) -> bool:
        """Whether an answer of it could go on elsewhere, so that it is worth writing down."""
        return forbidden(self.call.request) is None

    @property
    def first_choice(self) -> Choice | None:
        """Where it was sent first."""
        return self.trials[0].choice if self.trials else next(iter(self.choices.values()), None)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All replicas that were looked at, each as it was when its model was looked at first."""
        return tuple(one for choice in self.choices.values() for one in choice.candidates)

    @property
    def relay(self) -> Relay | None:
        """What is known of the streamed answer, its broken parts included."""
        return (self.trial.relay if self.trial else None) or self.broken

    def reaches_client(self, first_token_at: float | None) -> None:
        """A part of an answer goes out: from now on it can only be gone on with."""
        self.answer_begun = True
        self.first_token_at = self.first_token_at or first_token_at

    def fall_back(self, *, more_context: bool = False) -> bool:
        """Go on to the next model that may answer, if there is one (of more context than this one's, if need be)."""
        ranked = self.selection.ranked if self.selection else ()
        least = ranked[self.rank].config.context_tokens + 1 if more_context and ranked else 0
        for rank in range(self.rank + 1, len(ranked)):
            if ranked[rank].config.context_tokens >= least:
                self.move_to(rank)
                return True
        return False

    def move_to(self, rank: int) -> None:
        """Ask this model from now on; what another one's replicas failed at is nothing to it."""
        if rank != self.rank:
            self.rank = rank
            self.calls = 0
            self.tried.clear()

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
        if self.selection is None:
            return {}
        if self.denied is not None:
            return {"X-Citadel-Model": self.model_name, **self.limit_headers}
        known = {
            **self.limit_headers,
            "X-Citadel-Decision": self.decision_id,
            "X-Citadel-Model": self.model_name,
            "X-Citadel-Attempts": str(len(self.trials)),
        }
        if self.trial:
            known["X-Citadel-Upstream"] = self.trial.upstream
        return known

    def tokens(self, outcome: Outcome, ratios: TokenRatios) -> tuple[int, int]:
        """What is charged, in and out: what the engine counted, else what was seen and an estimate.

        An answer that failed before any of it reached the client is free; one that the client left is not. Of two
        calls that raced only the one that counts is charged.
        """
        relay = self.relay
        if (self.trial is None and relay is None) or (outcome is Outcome.ERROR and not self.answer_begun):
            return 0, 0
        if relay is None:
            usage = self.trial.usage if self.trial else None
            if usage:
                return usage.prompt_tokens or 0, usage.completion_tokens or 0
            return self._estimated(ratios), 0
        return relay.prompt_tokens or self._estimated(ratios), relay.generated

    def _estimated(self, ratios: TokenRatios) -> int:
        return ratios.estimate(self.model_name, prompt_bytes=self.call.request.prompt_bytes)
