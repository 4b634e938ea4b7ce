"""What was decided for one request and what came of it, as values that can be shown.

Decides only how a decision looks when told.
"""

from typing import Any

from msgspec import Struct

from citadel_edge.routing.candidates import Candidate


class Attempt(Struct, frozen=True, kw_only=True, gc=False):
    """One call of one replica.

    Attributes:
        outcome: `done`, `cancelled`, or the fault's name.
        status: the upstream's HTTP status, if it answered.
        detail: what went wrong, in words without secrets.
        duration_ms: from taking the replica to giving it back.
    """

    upstream: str
    outcome: str
    status: int | None
    detail: str | None
    duration_ms: float


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """One request's way. `candidates` are those of the first choice; the later ones are told by the attempts.

    Attributes:
        asked: the model as the client named it.
        model: the model's own name.
        at: seconds since 1970, when it was made.
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

    def shown(self) -> dict[str, Any]:
        """For JSON: the hub's payload and the API's answer."""
        return {
            "id": self.id,
            "request_id": self.request_id,
            "user_id": self.user_id,
            "asked": self.asked,
            "model": self.model,
            "strategy": self.strategy,
            "candidates": [_shown_candidate(candidate) for candidate in self.candidates],
            "chosen": self.chosen,
            "attempts": [_shown_attempt(attempt) for attempt in self.attempts],
            "outcome": self.outcome,
            "at": self.at,
        }


def _shown_candidate(candidate: Candidate) -> dict[str, Any]:
    excluded = candidate.excluded
    return {
        "upstream": candidate.upstream,
        "model": candidate.model,
        "weight": candidate.weight,
        "in_flight": candidate.in_flight,
        "excluded": None if excluded is None else {"code": excluded.code.value, "reason": excluded.reason},
    }


def _shown_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "upstream": attempt.upstream,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "detail": attempt.detail,
        "duration_ms": attempt.duration_ms,
    }
