"""What was decided for one request and what came of it, as values that can be shown.

Decides only how a decision looks when told. A request pays for one small struct; it is put into words when somebody
asks.
"""

from collections.abc import Mapping
from enum import StrEnum
from math import isfinite
from typing import Any

from msgspec import Struct

from citadel_edge.routing.candidates import Candidate
from citadel_edge.routing.features import Features
from citadel_edge.routing.outlook import ModelScore

PREVIEW = "preview"
"""The outcome of a decision that was only asked for: nothing was sent."""


class Mark(StrEnum):
    """Why a call of a replica was made."""

    FIRST = "first"
    RETRY = "retry"
    FALLBACK = "fallback"
    HEDGE = "hedge"
    CONTINUE = "continue"


class Attempt(Struct, frozen=True, kw_only=True, gc=False):
    """One call of one replica.

    Attributes:
        outcome: `done`, `cancelled`, or the fault's name.
        status: the upstream's HTTP status, if it answered.
        detail: what went wrong, in words without secrets.
        duration_ms: from taking the replica to giving it back.
        model: the model that was asked for there, by its own name; empty is the decision's.
        ttft_ms: from taking the replica to its first token, if one came.
    """

    upstream: str
    outcome: str
    status: int | None
    detail: str | None
    duration_ms: float
    mark: Mark = Mark.FIRST
    model: str = ""
    ttft_ms: float | None = None


class Estimate(Struct, frozen=True, kw_only=True, gc=False):
    """What was expected of the request when it was decided. Seconds from the decision; null where nothing is known."""

    tokens_in: int
    tokens_out: int
    cost_usd: float
    ttft_s: float | None = None
    total_s: float | None = None


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """One request's way.

    Attributes:
        asked: the model as the client named it.
        model: the own name of the model that answered, or was to.
        objective: what the choice of a model was to serve.
        features: what was seen of the request.
        considered: the models that were weighed, each with its score, its parts and why it is out.
        candidates: the replicas of every model that was looked at, each as it was when its model was looked at first;
            what changed since is told by the attempts.
        panic: so few replicas were left that open breakers were passed.
        chosen: the replica of the first choice.
        outcome: how the request ended, or `preview`.
        code: the error's stable code, if it ended with one.
        at: seconds since 1970, when it was made.
        tokens_in, tokens_out, cost_usd, ttft_ms, duration_ms: what was charged and how long it took.
    """

    id: str
    request_id: str
    user_id: str
    asked: str
    model: str
    strategy: str
    candidates: tuple[Candidate, ...]
    chosen: str | None
    attempts: tuple[Attempt, ...]
    outcome: str
    at: float
    objective: str | None = None
    features: Features | None = None
    considered: tuple[ModelScore, ...] = ()
    panic: bool = False
    estimate: Estimate | None = None
    code: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    ttft_ms: float | None = None
    duration_ms: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether it ended well at the first attempt: one of many, nothing to explain."""
        return self.outcome == "done" and len(self.attempts) == 1

    def upstreams(self) -> tuple[str, ...]:
        """Those that were called, in order, each once; before the first call the one that was chosen."""
        called = tuple(dict.fromkeys(attempt.upstream for attempt in self.attempts))
        return called or (() if self.chosen is None else (self.chosen,))

    def concerns(self, *, model: str | None = None, upstream: str | None = None, outcome: str | None = None) -> bool:
        """Whether it is about this model (by either name), this upstream, this outcome; null is any."""
        if outcome is not None and self.outcome != outcome:
            return False
        if model is not None and model not in (self.model, self.asked):
            return False
        return upstream is None or upstream in self.upstreams()

    def shown(self) -> dict[str, Any]:
        """For JSON: the hub's payload and the API's answer."""
        return {
            "id": self.id,
            "request_id": self.request_id,
            "user_id": self.user_id,
            "asked": self.asked,
            "attempts": [_shown_attempt(attempt, self.model) for attempt in self.attempts],
            "outcome": self.outcome,
            "code": self.code,
            "at": self.at,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost_usd": self.cost_usd,
            "ttft_ms": self.ttft_ms,
            "duration_ms": self.duration_ms,
            **self._reasons(),
        }

    def explained(self) -> dict[str, Any]:
        """For JSON: what `POST /v1/route` answers, nothing of what came of it."""
        return {"decision": self.id, "asked": self.asked, **self._reasons()}

    def _reasons(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "strategy": self.strategy,
            "objective": self.objective,
            "features": _plain(self.features),
            "models": [_plain(model) for model in self.considered],
            "panic": self.panic,
            "chosen": self.chosen,
            "candidates": [_shown_candidate(candidate) for candidate in self.candidates],
            "estimate": _plain(self.estimate),
        }


def _shown_candidate(candidate: Candidate) -> dict[str, Any]:
    """Written out, for a fleet has many of them."""
    excluded, score = candidate.excluded, candidate.score
    return {
        "upstream": candidate.upstream,
        "model": candidate.model,
        "weight": candidate.weight,
        "in_flight": candidate.in_flight,
        "score": score if score is not None and isfinite(score) else None,
        "parts": {name: part if isfinite(part) else None for name, part in candidate.parts().items()},
        "excluded": None if excluded is None else {"code": excluded.code.value, "reason": excluded.reason},
    }


def _shown_attempt(attempt: Attempt, model: str) -> dict[str, Any]:
    return {
        "upstream": attempt.upstream,
        "model": attempt.model or model,
        "mark": attempt.mark.value,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "detail": attempt.detail,
        "ttft_ms": attempt.ttft_ms,
        "duration_ms": attempt.duration_ms,
    }


def _plain(value: Any) -> Any:
    """Builtins that JSON can hold: a number that is none or without end is null, a set is a sorted list."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(each) for each in value)
    return [_plain(each) for each in value]
