"""What comes of a request: an answer, or a refusal that says at which stage it fell.

Refuses to know how either travels; a transport reads `status` and `stage` and sends `encoded()`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import msgspec

from citadel_edge.errors import CitadelError, Code

MAX_MESSAGE: Final = 500
_ENCODER = msgspec.json.Encoder()


class Stage(Enum):
    """Where a request was refused.

    REQUEST: its parameters are no GraphQL request. DOCUMENT: its text does not parse, is out of bounds, is invalid or
    is not to be had. OPERATION: no such operation, or one that may not run here: by its kind, its cost or the caller.
    """

    REQUEST = "request"
    DOCUMENT = "document"
    OPERATION = "operation"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. `data` is UNSET when nothing was executed; `errors` are formatted, masked and safe to show."""

    data: Any = msgspec.UNSET
    errors: Sequence[Mapping[str, Any]] = ()
    extensions: Mapping[str, Any] | None = None
    status: int = 200

    def payload(self) -> dict[str, Any]:
        """The response as a map, without what is not there."""
        shown: dict[str, Any] = {}
        if self.errors:
            shown["errors"] = self.errors
        if self.data is not msgspec.UNSET:
            shown["data"] = self.data
        if self.extensions:
            shown["extensions"] = self.extensions
        return shown

    def encoded(self) -> bytes:
        """The response as JSON."""
        return _ENCODER.encode(self.payload())


class Refused(CitadelError):
    """Nothing was executed. `errors` are formatted and safe to show; `status` is the HTTP status they stand for."""

    def __init__(self, errors: Sequence[Mapping[str, Any]], *, stage: Stage, status: int = 400) -> None:
        super().__init__("; ".join(str(error["message"]) for error in errors))
        self.errors = errors
        self.stage = stage
        self.status = status

    def named(self, request_id: str) -> list[dict[str, Any]]:
        """The errors with the id of the request that they are told to; what was refused once may be told to many."""
        return [
            {**error, "extensions": {**error.get("extensions", {}), "request_id": request_id}} for error in self.errors
        ]

    def answer(self, request_id: str) -> Answer:
        """As a response to this request."""
        return Answer(errors=self.named(request_id), status=self.status)


def refusal(message: str, *, stage: Stage, code: Code = Code.INVALID_REQUEST, **more: Any) -> Refused:
    """A refusal with one error. `more` goes into its extensions."""
    error = {"message": message, "extensions": {"code": code.text, **more}}
    return Refused((error,), stage=stage, status=code.status)
