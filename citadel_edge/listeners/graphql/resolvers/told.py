"""Errors as data: what a client can correct, or has to wait for.

Decides that whatever the other doors answer with a problem stands in `errors` of a mutation's answer or of a stream's
event; a missing role and faults of ours are raised on, and become errors of the response.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from graphql import GraphQLResolveInfo
from msgspec import Struct

from citadel_edge.completions.log_sink import Refused
from citadel_edge.errors import CitadelError, Code, RequestError
from citadel_edge.listeners.common.problems import as_request_error
from citadel_edge.listeners.graphql.context import Context
from citadel_edge.streams.values import State, Terminal

T = TypeVar("T")
Info = GraphQLResolveInfo[Context]
Given = Mapping[str, Any]
Work = Callable[[Context, dict[str, Any]], Awaitable[dict[str, Any]]]
_CODES: Final = frozenset(code.text for code in Code)


class UserError(Struct, frozen=True, kw_only=True):
    """One, as the contract has it."""

    code: str
    message: str
    field: str | None = None
    retry_after_s: float | None = None


def told(error: CitadelError) -> UserError:
    """What a client is told of it. Raises the error on when that is nothing."""
    if isinstance(error, Refused):
        return told_object(error.error)
    known = as_request_error(error)
    if known is None:
        raise error
    return UserError(
        code=known.code.text,
        message=known.message,
        field=None if known.param is None else camel(known.param),
        retry_after_s=known.retry_after_s,
    )


def told_by_its_names(error: Exception) -> RequestError | None:
    """What a client is told of an error of the response; its parameter as the contract spells it."""
    known = as_request_error(error)
    if known is None or known.param is None:
        return known
    return RequestError(
        known.code,
        known.message,
        param=camel(known.param),
        retry_after_s=known.retry_after_s,
        headers=known.headers,
    )


def told_object(error: Mapping[str, Any]) -> UserError:
    """Of OpenAI's error object: an engine's own, or one of ours in a stream."""
    code, message, param = error.get("code"), error.get("message"), error.get("param")
    return UserError(
        code=code if code in _CODES else Code.UPSTREAM_ERROR.text,
        message=str(message or "The model server failed."),
        field=camel(param) if isinstance(param, str) else None,
    )


def told_end(terminal: Terminal) -> UserError | None:
    """Of a stream's last record: why its answer is not whole; None where it is, or somebody wanted it to end."""
    if terminal.error is not None:
        return told_object(terminal.error)
    if terminal.outcome in (State.DONE, State.CANCELLED):
        return None
    return UserError(code=Code.UPSTREAM_ERROR.text, message="What came is not the whole answer.")


def camel(path: str) -> str:
    """`by_model.x` as the input spells it."""
    first, *rest = path.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def payload(work: Work) -> Callable[..., Awaitable[dict[str, Any]]]:
    """The resolver of a mutation: what was done, or why not."""

    async def resolve(_: None, info: Info, given: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            return {"errors": (), **await work(info.context, given or {})}
        except CitadelError as error:
            return {"errors": (told(error),)}

    return resolve


async def or_none(reading: Awaitable[T]) -> T | None:
    """What is read; None where there is no such thing."""
    try:
        return await reading
    except RequestError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        return None
