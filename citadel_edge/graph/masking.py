"""What a client is told of an error in a resolver: what was said on purpose, and of the rest only the request's id.

Told are a RequestError with its code, what the door's `told` translates to one, a GraphQLError with a code, and the
engine's own words about the request, its variables and arguments. Everything else may hold inner text: it is logged,
and masked.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from graphql import FieldNode, GraphQLError
from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.answers import MAX_MESSAGE

Told = Callable[[Exception], RequestError | None]
_Hidden = tuple[Exception, str]
LOGGED: Final = 3
UNFORESEEN: Final = "a resolver failed in a way nobody foresaw"
SENTENCE: Final = "a fault on our side; name the request id when you report it"


def only_request_errors(error: Exception) -> RequestError | None:
    """The plainest `Told`: nothing is translated."""
    return error if isinstance(error, RequestError) else None


class Mask:
    """Formats errors for the client and logs the unforeseen ones."""

    def __init__(self, told: Told, log: FilteringBoundLogger) -> None:
        self._told = told
        self._log = log

    def shown(self, errors: Iterable[GraphQLError], request_id: str) -> list[dict[str, Any]]:
        """As they go out, in their order. Of the unforeseen ones of one answer the first few are logged."""
        hidden: list[_Hidden] = []
        shown = [self._one(error, request_id, hidden) for error in errors]
        for number, (error, path) in enumerate(hidden[:LOGGED], 1):
            more = len(hidden) - LOGGED if number == LOGGED else 0
            self._log.error(UNFORESEEN, request_id=request_id, path=path, more=max(more, 0), exc_info=error)
        return shown

    def whole(self, error: Exception, request_id: str) -> tuple[dict[str, Any], int]:
        """What is told of an exception that ended the operation, and its status. The caller has logged it."""
        told = self._told(error) or RequestError(Code.INTERNAL, SENTENCE)
        return {"message": told.message, "extensions": extensions_of(told, request_id)}, told.code.status

    def _one(self, error: GraphQLError, request_id: str, hidden: list[_Hidden]) -> dict[str, Any]:
        shown: dict[str, Any] = dict(error.formatted)
        cause = None if error.path is None else _cause(error)
        if cause is None or _speaks_to_the_client(cause):
            shown["message"] = error.message[:MAX_MESSAGE]
            usual = {"code": Code.INVALID_REQUEST.text, "request_id": request_id}
            shown["extensions"] = {**usual, **shown.get("extensions", {})}
            return shown
        told = self._told(cause)
        if told is not None:
            shown |= {"message": told.message, "extensions": extensions_of(told, request_id)}
        else:
            hidden.append((cause, ".".join(map(str, error.path or ()))))
            shown |= {"message": SENTENCE, "extensions": {"code": Code.INTERNAL.text, "request_id": request_id}}
        return shown


def extensions_of(told: RequestError, request_id: str) -> dict[str, Any]:
    """What a RequestError adds to its message."""
    more = {"param": told.param, "retry_after_s": told.retry_after_s}
    return {
        "code": told.code.text,
        "request_id": request_id,
        **{name: value for name, value in more.items() if value is not None},
    }


def _cause(error: GraphQLError) -> Exception | None:
    """What was raised before the engine located it; null for the engine's own errors."""
    cause: Exception | None = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _speaks_to_the_client(cause: Exception) -> bool:
    """A GraphQLError with a code was raised to be read; one about an argument's value names the client's own text.

    One without either is about a value that a resolver returned: the engine quotes it.
    """
    if not isinstance(cause, GraphQLError):
        return False
    if "code" in (cause.extensions or {}):
        return True
    return cause.nodes is not None and not isinstance(cause.nodes[0], FieldNode)
