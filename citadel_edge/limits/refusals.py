"""What a client is told of a denied claim: the code, and which limit of whom, how large, what to do and when. Pure.

Decides the words, once for all doors. Refuses to know how an error looks on the wire.
"""

from typing import Final

from citadel_edge.errors import Code, RequestError
from citadel_edge.limits.claims import Decision, Reason
from citadel_edge.limits.headers import duration, limit_headers
from citadel_edge.limits.values import LimitName, Standing

_CODES: Final = {
    Reason.RATE: Code.RATE_LIMIT_EXCEEDED,
    Reason.AWAY: Code.RATE_LIMIT_EXCEEDED,
    Reason.QUOTA: Code.INSUFFICIENT_QUOTA,
    Reason.TOO_LARGE: Code.REQUEST_TOO_LARGE,
}
_UNITS: Final = {
    LimitName.REQUESTS_PER_MINUTE: "requests per minute",
    LimitName.TOKENS_PER_MINUTE: "tokens per minute",
    LimitName.CONCURRENT: "requests at a time",
    LimitName.TOKENS_PER_DAY: "tokens per day",
    LimitName.TOKENS_PER_MONTH: "tokens per month",
    LimitName.USD_PER_MONTH: "US dollars per month",
}
_ALONE: Final = {"model": "with the model", "endpoint": "at the endpoint"}


def code_of(decision: Decision) -> Code:
    """The code of a denial. `KeyError` for what is none."""
    return _CODES[decision.reason]


def refusal(decision: Decision, *, param: str | None = None) -> RequestError:
    """A denial as an error with its headers. `param`: the field that asks for too much, where it does."""
    return RequestError(
        code_of(decision),
        _words(decision),
        param=param,
        retry_after_s=decision.retry_after_s,
        headers=limit_headers(decision.standings, degraded=decision.degraded),
    )


def _words(decision: Decision) -> str:
    denied = decision.denied
    if denied is None:
        return f"Limits cannot be checked at the moment. {_again(decision.retry_after_s)}"
    limit = f"the limit of {_amount(denied.limit)} {_UNITS[denied.name]} {whose(denied.scope)}"
    match decision.reason:
        case Reason.TOO_LARGE:
            return f"This request needs more than {limit} ever grants. Shorten its input or ask for fewer tokens."
        case Reason.AWAY:
            return f"Nothing may be taken of {limit} while it cannot be checked. {_again(decision.retry_after_s)}"
        case Reason.QUOTA:
            left = _amount(denied.remaining)
            return f"Quota used up: {limit} has {left} left, this request needs more. {_anew(denied)}"
        case _:
            return f"Rate limit reached: {limit}. {_again(decision.retry_after_s)}"


def whose(scope: str) -> str:
    """A standing's scope as a sentence goes on: `for this user with the model llama-3`."""
    side, _, rest = scope.partition(" ")
    kind, _, name = rest.partition(" ")
    return f"for this {side} {_ALONE[kind]} {name}" if kind else f"for this {side}"


def _again(after_s: float | None) -> str:
    return "Ask your administrator." if after_s is None else f"Try again in {duration(after_s)}."


def _anew(denied: Standing) -> str:
    """A quota comes back with its period; more in between is only given by hand."""
    if denied.retry_after_s is None:
        return "Ask your administrator for more."
    return f"It begins anew in {duration(denied.retry_after_s)}; ask your administrator if you need more before."


def _amount(number: float) -> str:
    """Whole numbers with their thousands apart, dollars with their cents."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.2f}"
