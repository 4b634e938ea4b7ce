"""The shapes of OpenAI's HTTP API that both sides speak: chunks, answers, usage, errors.

Decides which fields of a body matter to this product; all others are skipped unread, so that an engine's own way with
a field that nobody reads never fails an answer. Refuses to know which engine sent a body.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

T = TypeVar("T")


class CompletionDetails(Struct, frozen=True):
    """How the completion was counted."""

    reasoning_tokens: Any = None


class Usage(Struct, frozen=True):
    """Tokens of one request. An engine that does not know a number may say null."""

    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    total_tokens: Any = 0
    completion_tokens_details: CompletionDetails | None = None


class Delta(Struct, frozen=True):
    """What a chunk adds to a message; of most fields only their presence counts, whatever their type.

    Reasoning arrives in either of two fields, by engine.
    """

    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None

    @property
    def thought(self) -> Any:
        """Reasoning, whichever field it came in."""
        return self.reasoning_content or self.reasoning


class Choice(Struct, frozen=True):
    """One choice of a chunk: `delta` for chat, `text` for legacy completions."""

    index: int | None = 0
    delta: Delta | None = None
    text: Any = None
    finish_reason: Any = None


class Timings(Struct, frozen=True):
    """Tokens that were in the cache, that were read, and that were made."""

    cache_n: int
    prompt_n: int
    predicted_n: int


class SomeObject(Struct, frozen=True):
    """Any JSON object; nothing of it is read."""


NOTHING: Final = Raw(b"")
TIMINGS_DECODER: Final = msgspec.json.Decoder(Timings)


class Chunk(Struct, frozen=True):
    """One event's data in a stream.

    `error` is set when the engine reports a failure inside the stream; `timings` are llama.cpp's own counts.
    """

    choices: list[Choice] | None = []
    usage: Usage | None = None
    error: Any = None
    timings: Raw = NOTHING

    @property
    def timed(self) -> Usage | None:
        """What `timings` count."""
        if not self.has_timings:
            return None
        try:
            counted = TIMINGS_DECODER.decode(self.timings)
        except msgspec.MsgspecError:
            return None
        prompt = counted.cache_n + counted.prompt_n
        return Usage(prompt, counted.predicted_n, prompt + counted.predicted_n)

    @property
    def has_timings(self) -> bool:
        """Whether there is such a field."""
        return len(memoryview(self.timings)) > 0


class Answer(Struct, frozen=True):
    """A whole answer, as far as it is read: what it says itself passes unread."""

    usage: Usage | None = None
    error: Any = None


class ErrorDetail(Struct, frozen=True):
    """OpenAI's error object; all four fields are always present."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Struct, frozen=True):
    """OpenAI's error answer."""

    error: ErrorDetail


CHUNK_DECODER: Final = msgspec.json.Decoder(Chunk)
ANSWER_DECODER: Final = msgspec.json.Decoder(Answer)
FIELDS_DECODER: Final = msgspec.json.Decoder(dict[str, Raw])
OBJECT_DECODER: Final = msgspec.json.Decoder(SomeObject)
ENCODER: Final = msgspec.json.Encoder()
NULL: Final = Raw(b"null")

ERROR_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    429: "rate_limit_error",
    504: "timeout_error",
}
FIRST_SERVER_ERROR: Final = 500


def decode_chunk(data: bytes) -> Chunk:
    """One chunk of a stream.

    Raises:
        ValueError: not JSON, not UTF-8, nested too deeply, or of other types than a chunk.
    """
    return _decode(CHUNK_DECODER, data)


def first_choices(payloads: Iterable[bytes]) -> Iterator[Choice]:
    """What chunks add to the first choice. One that an engine wrote in its own way adds nothing that can be shown."""
    for payload in payloads:
        try:
            choices = decode_chunk(payload).choices or ()
        except ValueError:
            continue
        yield from (choice for choice in choices if not choice.index)


def text_of(choice: Choice) -> str:
    """The text in a part of a choice."""
    text = choice.text if choice.delta is None else choice.delta.content
    return text if isinstance(text, str) else ""


def texts(payloads: Iterable[bytes]) -> Iterator[str]:
    """The text that chunks add to the first choice, piece by piece."""
    return map(text_of, first_choices(payloads))


def decode_answer(body: bytes) -> Answer:
    """A whole answer.

    Raises:
        ValueError: as `decode_chunk`.
    """
    return _decode(ANSWER_DECODER, body)


def counts(usage: Usage) -> bool:
    """Whether a usage says anything: some engines send zeroes until they know."""
    return (usage.prompt_tokens or 0) > 0 or (usage.completion_tokens or 0) > 0


def without_field(data: bytes, name: str, *, null: bool = False) -> bytes:
    """A JSON object without one of its fields, or with null in it; all others keep their bytes.

    Engines write what they add to a chunk last, where it can be cut off without reading the rest. A quote inside a
    string is escaped, so a comma and a quoted name with a colon are nowhere but before a field's value; and a value
    that reaches to the last brace is the outermost object's.

    Raises:
        ValueError: `data` is no JSON object.
    """
    mark = b',"%b":' % name.encode()
    start = data.rfind(mark)
    if start < 0 or not data.endswith(b"}}"):
        return _rewritten(data, name, null=null)
    try:
        OBJECT_DECODER.decode(data[start + len(mark) : -1])
    except (msgspec.MsgspecError, RecursionError):
        return _rewritten(data, name, null=null)
    return data[:start] + (mark + b"null}" if null else b"}")


def error_type(status: int) -> str:
    """The `type` that OpenAI's SDKs and their users expect with an HTTP status of 400 and above."""
    return ERROR_TYPES.get(status, "api_error" if status >= FIRST_SERVER_ERROR else "invalid_request_error")


def error_body(message: str, *, type: str, code: str | None, param: str | None) -> bytes:  # noqa: A002 - OpenAI's name
    """The JSON of an error answer or of an error event."""
    return msgspec.json.encode(ErrorBody(ErrorDetail(message=message, type=type, param=param, code=code)))


def _decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    if not data.isascii():
        data.decode()  # msgspec does not look into strings that it skips
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"malformed JSON from the upstream: {error}") from error


def _rewritten(data: bytes, name: str, *, null: bool) -> bytes:
    fields = _decode(FIELDS_DECODER, data)
    if null:
        fields[name] = NULL
    else:
        fields.pop(name, None)
    return ENCODER.encode(fields)
