"""How a request that fails is ended: which outcome its row bears, and in which words its client hears of it.

Decides by what failed and by what the client has already. Refuses to write: the words are handed back.
"""

from typing import Final

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.completions.job import Job
from citadel_edge.completions.refusal import Refusal, read_refusal
from citadel_edge.errors import CitadelError, Code, RequestError, UpstreamError, UpstreamFault
from citadel_edge.routing.retry import exhausted, no_replica, told
from citadel_edge.wire.openai import error_body, error_type
from citadel_edge.wire.sse import data_line

_NOT_BROKEN_OFF: Final = frozenset({UpstreamFault.STATUS, UpstreamFault.BUSY})


class EngineRefused(CitadelError):
    """The engine judged the request itself, and its client shall hear so with the engine's own status."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


Failed = RequestError | EngineRefused


def passed_on(job: Job, error: UpstreamError) -> Failed:
    """An engine's refusal as an error of ours where we have a name for it, as the engine's own otherwise."""
    refusal = read_refusal(error)
    if refusal.too_long:
        param = job.call.request.kind.prompt_field
        return RequestError(Code.CONTEXT_LENGTH_EXCEEDED, refusal.message, param=param)
    return EngineRefused(refusal)


def none_left(job: Job) -> Failed:
    """Nobody is left to ask, or nobody had room: what the client hears depends on what was tried."""
    if job.broken_by is not None:
        return _nobody_goes_on(job, job.broken_by)
    if job.judgement is None:
        return _too_long(job) if _fits_nowhere(job) else _nobody_has_room(job)
    if job.judgement.refusal:
        return passed_on(job, job.failures[-1].error)
    error = exhausted(job.model_name, job.failures)
    if job.retries_spent:
        error.message += " So much fails at present that this request was not tried once more."
    return error


def waited_in_vain(job: Job, *, patience_s: float, crowded: bool) -> RequestError:
    """Nobody had room as long as the request waited; or too many wait already (`crowded`)."""
    if job.broken_by is not None:
        return _nobody_goes_on(job, job.broken_by)
    full = _nobody_has_room(job)
    why = "Too many requests wait for it already." if crowded else f"This one has waited for {patience_s:g} s."
    return RequestError(full.code, f"{full.message} {why}", retry_after_s=full.retry_after_s)


def _nobody_goes_on(job: Job, broken_by: UpstreamError) -> RequestError:
    """An answer broke off, and the replicas that could go on with it failed, or had no room."""
    where = next((one.upstream for one in job.failures if one.error is broken_by), "unknown")
    return broken_off(where, broken_by, None)


def broken_off(upstream: str, error: UpstreamError, why: str | None) -> RequestError:
    """The upstream failed when a part of its answer had reached the client. `why` it does not go on elsewhere."""
    message = f"The model server failed in mid-answer ({upstream}: {told(error)}). "
    message += f"It cannot go on elsewhere: {why}. " if why else "Nobody was left to go on with it. "
    return RequestError(Code.UPSTREAM_ERROR, message + "What was sent is not the whole answer.")


def over_time(job: Job, *, total_s: float) -> RequestError:
    """The request's time is over: the client's own, or the configured total."""
    asked = job.call.deadline_s
    limit = f"the configured {total_s:g} s" if asked is None or asked > total_s else f"X-Citadel-Timeout: {asked:g} s"
    phase = "in mid-answer" if job.answer_begun else "before the answer began"
    message = f"The request's time is over ({UpstreamFault.TOTAL_TIMEOUT.value}, {limit}), {phase}."
    if not job.waits:
        return RequestError(Code.DEADLINE_EXCEEDED, message)
    full = _nobody_has_room(job)
    return RequestError(Code.DEADLINE_EXCEEDED, f"{message} {full.message}", retry_after_s=full.retry_after_s)


def _fits_nowhere(job: Job) -> bool:
    return bool(job.latest) and all(choice.too_long for choice in job.latest)


def _too_long(job: Job) -> RequestError:
    """The prompt is what stands in the way, everywhere: to try again later would not help."""
    out = [one for choice in job.latest for one in choice.candidates]
    reasons = "; ".join(f"{one.upstream}: {one.excluded.reason}" for one in out if one.excluded)
    message = f"The prompt is too long for every replica of '{job.model_name}' ({reasons}). Shorten the prompt."
    return RequestError(Code.CONTEXT_LENGTH_EXCEEDED, message, param=job.call.request.kind.prompt_field)


def _nobody_has_room(job: Job) -> RequestError:
    """Why the request waits, as it was when it was looked last."""
    return no_replica(job.model_name, [one for choice in job.latest for one in choice.candidates])


def ending(job: Job, error: Failed) -> tuple[Outcome, str | None]:
    """Outcome and code of a stream that failed. A text that was cut is truncated; a reported error is an error."""
    if isinstance(error, EngineRefused):
        return Outcome.ERROR, error.refusal.code
    broken_by = job.broken_by or (job.failures[-1].error if job.failures else None)
    cut = job.answer_begun and (broken_by is None or broken_by.fault not in _NOT_BROKEN_OFF)
    return Outcome.TRUNCATED if cut else Outcome.ERROR, error.code.text


def error_event(error: Failed) -> bytes:
    """The last event of a stream that failed, in OpenAI's shape. No `[DONE]` follows."""
    if isinstance(error, EngineRefused):
        return data_line(error.refusal.body())
    code = error.code
    return data_line(error_body(error.message, type=error_type(code.status), code=code.text, param=error.param))
