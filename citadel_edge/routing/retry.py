"""What a failed call means: for the replica, for this request, and for the client when nothing is left to try.

Decides by the failure and by what already reached the client. Refuses to know how a call is made, and what an engine
that refuses a request meant: passing a refusal on is `completions.refusal`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from citadel_edge.errors import Code, RequestError, UpstreamError, UpstreamFault
from citadel_edge.fleet.engines.dialect import Dialect
from citadel_edge.fleet.table import Verdict
from citadel_edge.routing.candidates import Candidate

DEFAULT_COOLDOWN_S: Final = 1.0
MIN_COOLDOWN_S: Final = 0.1  # an engine that says "at once" is not asked in a circle
MAX_COOLDOWN_S: Final = 60.0
KEY_REFUSED: Final = frozenset({401, 403})
_NOT_HERE: Final = frozenset({404, 405, 501})  # this engine lacks the model or the endpoint; another may have it
_REQUEST_TIMEOUT: Final = 408
_CLIENT_ERRORS: Final = range(400, 500)


class Wish(StrEnum):
    """What should happen next, were it possible. REFUSED: the engine judged the request itself; all would."""

    ELSEWHERE = "elsewhere"
    REFUSED = "refused"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a failure says.

    Attributes:
        verdict: what the replica is charged with.
        suspect: nobody listens there; do not wait for the probes to find out.
        cooldown_s: with BUSY, how long it is left alone.
        same_again: with no other replica left, this one may be asked once more: a connection kept alive may have died
            of old age.
        refusal: when nothing is left to try, the client should hear the engine's own words.
    """

    wish: Wish
    verdict: Verdict
    suspect: bool = False
    cooldown_s: float = 0.0
    same_again: bool = False
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt."""

    upstream: str
    error: UpstreamError


_ELSEWHERE: Final = Judgement(wish=Wish.ELSEWHERE, verdict=Verdict.FAULT)
_BY_FAULT: Final = {
    UpstreamFault.REFUSED: Judgement(wish=Wish.ELSEWHERE, verdict=Verdict.FAULT, suspect=True),
    UpstreamFault.RESET: Judgement(wish=Wish.ELSEWHERE, verdict=Verdict.FAULT, same_again=True),
    UpstreamFault.LOST: Judgement(wish=Wish.ELSEWHERE, verdict=Verdict.NONE),  # its probes have judged it
    UpstreamFault.TOTAL_TIMEOUT: Judgement(wish=Wish.STOP, verdict=Verdict.NONE),
}


def is_busy(status: int, dialect: Dialect) -> bool:
    """Whether a status is backpressure."""
    return status in dialect.busy


def judge(error: UpstreamError, dialect: Dialect) -> Judgement:
    """What one failure says."""
    if error.fault is UpstreamFault.BUSY:
        asked = DEFAULT_COOLDOWN_S if error.retry_after_s is None else error.retry_after_s
        cooldown_s = min(max(asked, MIN_COOLDOWN_S), MAX_COOLDOWN_S)
        return Judgement(wish=Wish.ELSEWHERE, verdict=Verdict.BUSY, cooldown_s=cooldown_s)
    if error.fault is UpstreamFault.STATUS and error.status is not None:
        return _judge_status(error.status, dialect)
    return _BY_FAULT.get(error.fault, _ELSEWHERE)


def _judge_status(status: int, dialect: Dialect) -> Judgement:
    if status in dialect.own_faults or status in KEY_REFUSED or status == _REQUEST_TIMEOUT:
        return _ELSEWHERE
    if status in _NOT_HERE:
        return Judgement(wish=Wish.ELSEWHERE, verdict=Verdict.NONE, refusal=True)
    if status in _CLIENT_ERRORS:
        return Judgement(wish=Wish.REFUSED, verdict=Verdict.NONE, refusal=True)
    return _ELSEWHERE


def no_replica(model: str, candidates: Sequence[Candidate]) -> RequestError:
    """Nothing was tried, because nobody may be asked now."""
    waits = [seen.excluded.retry_in_s for seen in candidates if seen.excluded and seen.excluded.retry_in_s is not None]
    reasons = "; ".join(f"{seen.upstream}: {seen.excluded.reason}" for seen in candidates if seen.excluded)
    return RequestError(
        Code.NO_CAPACITY,
        f"No replica of '{model}' can take a request now ({reasons or 'it has none'}). Try again later.",
        retry_after_s=min(waits, default=DEFAULT_COOLDOWN_S),
    )


def exhausted(model: str, failures: Sequence[Failure]) -> RequestError:
    """All that could be tried failed: what the client is told. `failures` is not empty."""
    reasons = "; ".join(f"{failure.upstream}: {told(failure.error)}" for failure in failures)
    waits = [failure.error.retry_after_s for failure in failures if failure.error.retry_after_s is not None]
    if all(failure.error.fault is UpstreamFault.BUSY for failure in failures):
        return RequestError(
            Code.NO_CAPACITY,
            f"Every replica of '{model}' that was asked is full ({reasons}). Try again later.",
            retry_after_s=min(waits, default=DEFAULT_COOLDOWN_S),
        )
    return RequestError(
        Code.UPSTREAM_ERROR,
        f"The model server of '{model}' failed ({reasons}).",
        retry_after_s=min(waits, default=None),
    )


def told(error: UpstreamError) -> str:
    """A failure in words for a client: the phase, and nothing that the engine said of itself."""
    if error.status in KEY_REFUSED:
        return f"{error.fault.value}, it refuses the key configured for it ({error.status})"
    if error.status is not None:
        return f"{error.fault.value} {error.status}"
    return f"{error.fault.value}, {error}"
