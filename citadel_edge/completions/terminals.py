"""The one last record of a stream, made of how its request ended. Pure.

Decides what an end says: its outcome is that of the ledger's row, the usage is what was charged, and what went wrong is
told as OpenAI's error object. Refuses to know when a stream ends, and who is told.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.accounts.presence import Reason
from citadel_edge.completions.call import Report
from citadel_edge.completions.log_sink import LogSink, Refused
from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.values import State, Terminal
from citadel_edge.wire.openai import error_body, error_type

Failure = RequestError | Refused
_STATES: Final = {
    Outcome.DONE: State.DONE,
    Outcome.ERROR: State.ERROR,
    Outcome.DENIED: State.ERROR,
    Outcome.TRUNCATED: State.TRUNCATED,
    Outcome.CANCELLED: State.CANCELLED,
}
_ENDED: Final = {Reason.REVOKED: Code.INVALID_API_KEY, Reason.DRAINING: Code.LISTENER_STOPPED}


class Why(StrEnum):
    """Why we end an answer ourselves, besides `presence.Reason`."""

    LEFT = "nobody reads it"
    STOPPED = "somebody stopped it"
    TAKEN = "another process goes on with it"
    HANDED_ON = "this process ends, another one goes on with it"


def terminal_of(
    report: Report, error: dict[str, Any] | None, heard: LogSink, *, tokens_saved: int | None = None
) -> Terminal:
    """The end of a request that was recorded. One that was ended with its last words unheard is not done."""
    total = report.tokens_in + report.tokens_out
    outcome = _STATES[report.outcome]
    return Terminal(
        outcome=State.CANCELLED if outcome is State.DONE and not heard.whole else outcome,
        usage={"prompt_tokens": report.tokens_in, "completion_tokens": report.tokens_out, "total_tokens": total},
        cost_usd=float(report.cost_usd),
        attempts=report.attempts,
        error=error,
        tokens_saved=tokens_saved,
        finish_reason=heard.finish_reason,
    )


def error_of(failure: Failure) -> dict[str, Any]:
    """OpenAI's error object of a failure."""
    if isinstance(failure, Refused):
        return failure.error
    code = failure.code
    body = error_body(failure.message, type=error_type(code.status), code=code.text, param=failure.param)
    error: dict[str, Any] = msgspec.json.decode(body)["error"]
    return error


def ended_for(reason: Reason) -> dict[str, Any]:
    """OpenAI's error object of an end that is ours."""
    return error_of(RequestError(_ENDED[reason], f"This request was ended: {reason.value}."))
