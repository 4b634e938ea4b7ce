"""A request that another process began: what becomes of its job here, before an answer is looked for.

Decides what counts as said, tried and taken already, and why an answer that was begun does not go on. Refuses to know
how the process ended, and where its answer was logged.
"""

from citadel_edge.completions.call import Earlier
from citadel_edge.completions.continuation import refusal
from citadel_edge.completions.job import Job
from citadel_edge.errors import Code, RequestError
from citadel_edge.routing.decision import Attempt
from citadel_edge.routing.retry import Failure


def inherit(job: Job, earlier: Earlier) -> None:
    """Let a new job know what was done for it before."""
    error = earlier.broken_by
    if earlier.upstream:
        job.attempts.append(
            Attempt(
                upstream=earlier.upstream,
                outcome=error.fault.value,
                status=None,
                detail=str(error),
                duration_ms=earlier.age_s * 1000,
                model=earlier.model,
            )
        )
    if earlier.said is not None:
        job.failures.append(Failure(earlier.upstream, error))
        job.broken, job.broken_by, job.answer_begun = earlier.said, error, True
        job.first_token_at = job.started + (earlier.age_s if earlier.first_s is None else earlier.first_s)


def stand(job: Job, earlier: Earlier) -> None:
    """Go on with the model that was asked, once it is known who may answer.

    Raises:
        RequestError: the answer was begun, and that model is not to be had any more.
    """
    rank = next((rank for rank, model in enumerate(job.models) if model.name == earlier.model), None)
    if rank is not None:
        job.move_to(rank)
    elif earlier.said is not None and earlier.model:
        message = f"The model '{earlier.model}', which had begun this answer, is not to be had any more."
        raise RequestError(Code.UPSTREAM_ERROR, message)


def demand_future(job: Job, earlier: Earlier) -> None:
    """Raise why an answer that was begun does not go on; return for one that is whole, or goes on."""
    if earlier.ended is not None:
        raise earlier.ended
    said = earlier.said
    if said is None or said.finished:
        return
    why = refusal(job.call.request, said)
    if why is not None:
        message = f"The process that relayed this answer ended in the middle of it. It does not go on: {why}. "
        raise RequestError(Code.UPSTREAM_ERROR, message + "What was sent is not the whole answer.")
