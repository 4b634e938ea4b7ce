"""What an engine says when it refuses a request, in OpenAI's shape.

Decides how each engine's error body is read and which of them mean that the prompt is too long. Refuses to know
whether the refusal is passed on: that is `routing.retry`'s.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from citadel_edge.errors import UpstreamError
from citadel_edge.wire.openai import error_body, error_type

_LONGEST_MESSAGE: Final = 2000
_UNSUPPORTED: Final = frozenset({405, 501})
_BAD_REQUEST: Final = 400
_CODES: Final = {404: "not_found", 413: "request_too_large"}
_CONTEXT_STATUSES: Final = frozenset({400, 413, 422})
# vLLM: "maximum context length is", "maximum model length of"; SGLang: "longer than the model's context length",
# "exceeds the model's maximum context length"; llama.cpp: "exceeds the available context size",
# "exceed_context_size_error"; Ollama: "exceeds the context length"; TGI: "`inputs` tokens + `max_new_tokens` must be",
# "`inputs` must have less than"; OpenAI: "context_length_exceeded".
_TOO_LONG: Final = re.compile(
    r"context[ _](length|size|window)|maximum model length|`inputs` (tokens \+|must have less than)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An engine's refusal as a client of OpenAI's API knows it."""

    status: int
    message: str
    type: str
    code: str | None
    param: str | None
    too_long: bool

    def body(self) -> bytes:
        """The JSON of the answer."""
        return error_body(self.message, type=self.type, code=self.code, param=self.param)


def read_refusal(error: UpstreamError) -> Refusal:
    """The refusal in an error with a status. An endpoint that the engine lacks is the request's mistake: 400."""
    status = error.status or _BAD_REQUEST
    found = _error_object(error.body)
    message = _text(found.get("message")) or f"The model server refused the request with status {status}."
    if status in _UNSUPPORTED:
        status = _BAD_REQUEST
    told = (message, _text(found.get("code")) or "", _text(found.get("type")) or "")
    return Refusal(
        status=status,
        message=message[:_LONGEST_MESSAGE],
        type=error_type(status),
        code=_text(found.get("code")) or _CODES.get(status, "invalid_request"),
        param=_text(found.get("param")),
        too_long=status in _CONTEXT_STATUSES and any(_TOO_LONG.search(text) for text in told),
    )


def _error_object(body: bytes) -> dict[str, Any]:
    """OpenAI's and llama.cpp's `{"error": {…}}`, old vLLM's flat object, TGI's `{"error": "…"}`, FastAPI's `detail`."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {"message": body.decode("utf-8", "replace").strip()}
    if not isinstance(found, dict):
        return {"message": str(found)}
    error = found.get("error", found)
    if isinstance(error, dict):
        return error if "message" in error else {"message": str(error.get("detail") or "")}
    return {"message": error and str(error), "type": found.get("error_type")}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
