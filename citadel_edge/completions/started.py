"""The request that makes an engine go on with a started answer, and what its fields say of that. Pure.

A chat goes on after a last message of the assistant, a legacy completion after its prompt; what was generated already
is taken off the bounds. Refuses to know whether the answer may be continued at all: that is `continuation`.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from citadel_edge.completions.relay import Relay
from citadel_edge.completions.request import CompletionRequest, Kind
from citadel_edge.completions.seam import Cut, cut
from citadel_edge.fleet.engines.dialect import Dialect, Resumes, UsageAlong

_BOUNDS: Final = ("max_completion_tokens", "max_tokens", "n_predict")
_ENCODER: Final = msgspec.json.Encoder()
_MESSAGES: Final = msgspec.json.Decoder(list[dict[str, Raw]])


def first_body(request: CompletionRequest, *, dialect: Dialect, model: str) -> bytes:
    """The JSON of a first call: exact counts in mid-stream are asked for where the engine has them."""
    return _asking(request, dialect).upstream_body(model)


def next_body(request: CompletionRequest, relay: Relay, *, dialect: Dialect, model: str) -> bytes:
    """The JSON that makes a replica of `dialect` go on where `relay` broke off."""
    part = cut_of(request, relay, dialect)
    fields = dict(request.fields)
    if request.kind is not Kind.CHAT:
        fields["prompt"] = _raw(value(request, "prompt") + part.text)
    elif part.text:
        fields["messages"] = _raw(_messages(request, relay, part.text))
        _set_flags(fields, dialect)
    _lower(request, relay, fields, spent=relay.generated - part.tokens)
    return _asking(replace(request, fields=fields), dialect).upstream_body(model)


def cut_of(request: CompletionRequest, relay: Relay, dialect: Dialect) -> Cut:
    """What of the answer so far an engine is given."""
    return cut(relay.said or (), keeps_end=request.kind is not Kind.CHAT or dialect.keeps_end)


def _asking(request: CompletionRequest, dialect: Dialect) -> CompletionRequest:
    if not request.stream or dialect.usage_along is UsageAlong.NEVER:
        return request
    if dialect.usage_along is UsageAlong.TIMINGS:
        return replace(request, fields={"timings_per_token": _raw(True), **request.fields})
    options = value(request, "stream_options") or {}
    asked = _raw({**options, "continuous_usage_stats": True})
    return replace(request, fields={**request.fields, "stream_options": asked})


def started(request: CompletionRequest) -> bool:
    """Whether the conversation ends with words of the assistant."""
    return bool(read(last_message(request).get("role")) == "assistant")


def continues(request: CompletionRequest, relay: Relay) -> bool:
    """Whether the answer so far is the rest of a started one that the client sent: so the first engine took it."""
    if not started(request) or relay.dialect is None:
        return False
    return relay.dialect.resumes is Resumes.TRAILING or (
        relay.dialect.resumes is Resumes.FLAGS and given(request, "continue_final_message")
    )


def own_start(request: CompletionRequest, relay: Relay) -> str:
    """The started answer that the client itself sent, as far as it is plain text."""
    content = read(last_message(request).get("content")) if continues(request, relay) else None
    return content if isinstance(content, str) else ""


def last_message(request: CompletionRequest) -> dict[str, Raw]:
    """Of a chat: its fields."""
    return _MESSAGES.decode(request.fields["messages"])[-1]


def _messages(request: CompletionRequest, relay: Relay, text: str) -> list[Any]:
    messages: list[Any] = _MESSAGES.decode(request.fields["messages"])
    if not continues(request, relay):
        return [*messages, {"role": "assistant", "content": text}]
    last = messages.pop()
    trimmed = relay.dialect is not None and not relay.dialect.keeps_end
    return [*messages, {**last, "content": _appended(read(last.get("content")), text, trimmed=trimmed)}]


def _appended(content: Any, text: str, *, trimmed: bool) -> Any:
    """A started answer's content with more text at its end; `trimmed`: the first engine may not have read its end."""
    if not isinstance(content, list):
        return _joined(content or "", text, trimmed=trimmed)
    *parts, last = content or [{"type": "text", "text": ""}]
    if isinstance(last, dict) and isinstance(last.get("text"), str):
        return [*parts, {**last, "text": _joined(last["text"], text, trimmed=trimmed)}]
    return [*parts, last, {"type": "text", "text": text}]


def _joined(start: str, text: str, *, trimmed: bool) -> str:
    """White space on both sides of the joint shows that the first engine did not read that of the start."""
    return (start.rstrip() if trimmed and text[:1].isspace() else start) + text


def _set_flags(fields: dict[str, Raw], dialect: Dialect) -> None:
    """The two fields that some engines continue by, and others may stumble over."""
    for name in ("continue_final_message", "add_generation_prompt"):
        fields.pop(name, None)
    if dialect.resumes is Resumes.FLAGS:
        fields["continue_final_message"] = _raw(True)
        fields["add_generation_prompt"] = _raw(False)


def bound_of(request: CompletionRequest, relay: Relay) -> int | None:
    """How many tokens the whole answer may have."""
    if request.max_tokens is not None or request.kind is Kind.CHAT or relay.dialect is None:
        return request.max_tokens
    return relay.dialect.raw_max_tokens


def _lower(request: CompletionRequest, relay: Relay, fields: dict[str, Raw], *, spent: int) -> None:
    """Take what was generated off what may and must be."""
    bound = bound_of(request, relay)
    if bound is not None and request.max_tokens is None:
        fields["max_tokens"] = _raw(max(1, bound - spent))
    for name in _BOUNDS:
        count = value(request, name)
        if isinstance(count, int) and count > 0:
            fields[name] = _raw(max(1, count - spent))
    fewest = value(request, "min_tokens")
    if isinstance(fewest, int) and fewest > 0:
        fields["min_tokens"] = _raw(max(0, fewest - spent))


def given(request: CompletionRequest, name: str) -> bool:
    """Whether a field asks for anything."""
    return value(request, name) not in (None, False, [], {}, "")


def value(request: CompletionRequest, name: str) -> Any:
    """A field of the body, None when it is absent."""
    return read(request.fields.get(name))


def read(raw: Raw | None) -> Any:
    """What some JSON of a body says."""
    return None if raw is None else msgspec.json.decode(raw)


def _raw(content: Any) -> Raw:
    return Raw(_ENCODER.encode(content))
