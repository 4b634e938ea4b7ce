"""What an OpenAI body asks for: the few fields that matter, checked; all others kept as the bytes they came in.

The body is parsed once, one level deep. What goes upstream is the same fields in the same bytes with two of them
replaced, so a field that this product never heard of arrives untouched, and of a field given twice only the last
arrives: no engine can read another one than was checked here.

Refuses to know who asks, what the model is, and whether an engine understands the rest.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NoReturn, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from citadel_edge.completions.looks import Turn, Weight, excerpt, kept, largest_item, needs_of, sample_of, weigh
from citadel_edge.config.shape import Capability
from citadel_edge.errors import Code, RequestError
from citadel_edge.routing.features import Sample
from citadel_edge.wire.json_text import flaw

T = TypeVar("T")

_LONGEST_NAME: Final = 256
_MOST_CHOICES: Final = 128
_MOST_TOKENS: Final = 2**31
_QUOTE, _BRACKET = b'"'[0], b"["[0]


class Kind(StrEnum):
    """The three jobs."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDINGS = "embeddings"

    @property
    def path(self) -> str:
        """Where engines take it, and doors too."""
        return _PATHS[self]

    @property
    def prompt_field(self) -> str:
        """The field that holds what the model reads."""
        return _PROMPT_FIELDS[self]


_PATHS: Final = {
    Kind.CHAT: "/v1/chat/completions",
    Kind.COMPLETION: "/v1/completions",
    Kind.EMBEDDINGS: "/v1/embeddings",
}
_PROMPT_FIELDS: Final = {Kind.CHAT: "messages", Kind.COMPLETION: "prompt", Kind.EMBEDDINGS: "input"}


class _StreamOptions(Struct):
    include_usage: bool | None = None


_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_STRING: Final = msgspec.json.Decoder(str)
_FLAG: Final = msgspec.json.Decoder(bool | None)
_COUNT: Final = msgspec.json.Decoder(int | None)
_MESSAGES: Final = msgspec.json.Decoder(list[Turn])
_STREAM_OPTIONS: Final = msgspec.json.Decoder(_StreamOptions | None)
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw] | None)
_ENCODER: Final = msgspec.json.Encoder()
_TRUE: Final = Raw(b"true")
_FALSE: Final = Raw(b"false")
_NULL: Final = Raw(b"null")


class CompletionRequest(Struct, frozen=True, kw_only=True):
    """A checked request.

    Attributes:
        model: the name as the client wrote it.
        include_usage: the client asked for the usage chunk of a stream.
        max_tokens: the bound the client set on the answer, if any.
        n: how many choices were asked for.
        tools: tools were offered to the model.
        prompt_bytes: size of the prompt's JSON (and the tools') without pictures' data, for estimates.
        pictures: how many of them the prompt holds.
        turns: a conversation's opening and last messages.
        fields: the body's fields, each as the bytes it came in.
    """

    kind: Kind
    model: str
    stream: bool
    include_usage: bool
    max_tokens: int | None
    n: int
    tools: bool
    prompt_bytes: int
    pictures: int
    turns: tuple[Turn, ...]
    fields: dict[str, Raw]

    @property
    def needs(self) -> frozenset[Capability]:
        """What a model must be able to do for it."""
        embeddings = self.kind is Kind.EMBEDDINGS
        return needs_of(self.fields, tools=self.tools, pictures=self.pictures, embeddings=embeddings)

    @property
    def context_bytes(self) -> int:
        """Size of what a model reads at once: of several prompts or inputs the largest."""
        if self.kind is Kind.CHAT:
            return self.prompt_bytes
        return largest_item(self.fields[self.kind.prompt_field])

    def sample(self) -> Sample:
        """A bounded part of its text, to judge it by."""
        return Sample() if self.kind is Kind.EMBEDDINGS else sample_of(self.turns)

    def texts(self) -> Iterator[str]:
        """A bounded part of the texts of `turns`, in order."""
        return (excerpt(turn.content) for turn in self.turns)

    def streaming(self, stream: bool) -> "CompletionRequest":  # noqa: FBT001 - the field's own name and value
        """The same request, asked to be streamed or not."""
        fields = {**self.fields, "stream": _TRUE if stream else _FALSE}
        if not stream:
            fields.pop("stream_options", None)
        return replace(self, stream=stream, include_usage=self.include_usage and stream, fields=fields)

    def without(self, *names: str) -> "CompletionRequest":
        """The same request without fields of these names, which are ours and not the engine's."""
        if not any(name in self.fields for name in names):
            return self
        return replace(self, fields={name: raw for name, raw in self.fields.items() if name not in names})

    def body(self) -> bytes:
        """Its JSON as the client could have sent it."""
        return _ENCODER.encode(self.fields)

    def upstream_body(self, model: str) -> bytes:
        """The JSON to send: `model` replaced, and of a stream the usage always asked for."""
        fields = dict(self.fields)
        fields["model"] = Raw(_ENCODER.encode(model))
        if self.stream:
            options = _OBJECT.decode(fields.get("stream_options", _NULL)) or {}
            options["include_usage"] = _TRUE
            fields["stream_options"] = Raw(_ENCODER.encode(options))
        return _ENCODER.encode(fields)


def parse(body: bytes, kind: Kind) -> CompletionRequest:
    """Read a client's body.

    Raises:
        RequestError: INVALID_REQUEST, with the field at fault as `param` where it is one field's fault.
    """
    fields = _parse_fields(body)
    turns = _check_prompt(fields, kind)
    prompt = fields[kind.prompt_field]
    weight = weigh(prompt, body) if kind is Kind.CHAT else Weight(_size(prompt), 0)
    options = _read(fields, "stream_options", _STREAM_OPTIONS, "an object with a boolean `include_usage`")
    tools = fields.get("tools", _NULL)
    has_tools = bytes(tools) not in (b"null", b"[]")
    return CompletionRequest(
        kind=kind,
        model=_parse_model(fields),
        stream=kind is not Kind.EMBEDDINGS and bool(_read(fields, "stream", _FLAG, "a boolean")),
        include_usage=bool(options and options.include_usage),
        max_tokens=_parse_max_tokens(fields),
        n=_parse_count(fields, "n", low=1, high=_MOST_CHOICES) or 1,
        tools=has_tools,
        prompt_bytes=weight.text_bytes + (_size(tools) if has_tools else 0),
        pictures=weight.pictures,
        turns=turns,
        fields=fields,
    )


def _parse_fields(body: bytes) -> dict[str, Raw]:
    if not body:
        raise RequestError(Code.INVALID_REQUEST, "The body is empty: send a JSON object.")
    try:
        if not body.isascii():
            body.decode()  # strings inside kept bytes are not looked into by the parser
        return _FIELDS.decode(body)
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8 (byte {error.start})."
        raise RequestError(Code.INVALID_REQUEST, message) from error
    except RecursionError as error:
        raise RequestError(Code.INVALID_REQUEST, "The body is nested too deeply.") from error
    except msgspec.ValidationError as error:
        raise RequestError(Code.INVALID_REQUEST, "The body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        raise RequestError(Code.INVALID_REQUEST, f"The body is not valid JSON: {flaw(body, error)}.") from error


def _parse_model(fields: dict[str, Raw]) -> str:
    if "model" not in fields:
        _refuse("model", "'model' is missing: name a model, GET /v1/models lists them.")
    model = _read(fields, "model", _STRING, "a string")
    if not model or len(model) > _LONGEST_NAME:
        _refuse("model", f"'model' must be a name of 1 to {_LONGEST_NAME} characters.")
    return model


def _check_prompt(fields: dict[str, Raw], kind: Kind) -> tuple[Turn, ...]:
    """The prompt is there and of a type that an engine can read; what of it is worth a look."""
    name = kind.prompt_field
    prompt = fields.get(name, _NULL)
    if bytes(memoryview(prompt)[:4]) == b"null":
        _refuse(name, f"'{name}' is missing.")
    if kind is Kind.CHAT:
        turns = _read(fields, name, _MESSAGES, "an array of objects, each with a string `role`")
        if not turns:
            _refuse(name, "'messages' must hold at least one message.")
        return kept(turns)
    if memoryview(prompt)[0] not in (_QUOTE, _BRACKET):
        _refuse(name, f"'{name}' must be a string or an array.")
    return (Turn("user", prompt),)


def _parse_max_tokens(fields: dict[str, Raw]) -> int | None:
    newer = _parse_count(fields, "max_completion_tokens", low=0, high=_MOST_TOKENS)
    older = _parse_count(fields, "max_tokens", low=0, high=_MOST_TOKENS)
    return older if newer is None else newer


def _parse_count(fields: dict[str, Raw], name: str, *, low: int, high: int) -> int | None:
    count = _read(fields, name, _COUNT, f"an integer from {low} to {high}")
    if count is not None and not low <= count <= high:
        _refuse(name, f"'{name}' must be an integer from {low} to {high}.")
    return count


def _read(fields: dict[str, Raw], name: str, decoder: msgspec.json.Decoder[T], words: str) -> T | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RequestError(Code.INVALID_REQUEST, f"'{name}' must be {words}.", param=name) from error


def _size(raw: Raw) -> int:
    return memoryview(raw).nbytes


def _refuse(param: str, message: str) -> NoReturn:
    raise RequestError(Code.INVALID_REQUEST, message, param=param)
