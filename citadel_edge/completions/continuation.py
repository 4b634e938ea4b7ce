"""Whether a broken answer can go on at another replica, and with what request. Pure.

Decides in three steps, each of which says why not in words: what of a request forbids it (`forbidden`, once, so that a
request that cannot be continued pays nothing for it), what of the answer so far does (`refusal`), and what of a
replica's engine does (`unable`). Refuses to know which replica is best, and what was broken.

What is never continued: tools, guided output, reasoning, several choices. Their state is more than the text that the
client has, so another engine would go on with something else.

How a caller uses it, a replica being called at a time::

    relay = listen(request, dialect, recording=forbidden(request) is None)     # sent: first_body(...)
    while the stream under `relay` fails, and a part of the answer has reached the client:
        if nothing_left(request, relay): send last_words(request, relay, ...); it is done
        if refusal(request, relay): it ends as broken off
        choose a replica for which unable(request, relay, its dialect) is None
        body = next_body(request, relay, dialect=..., model=...)
        relay = resume(request, relay, dialect=...)                           # and go on feeding

A relay that failed knows no less than the one before it, so whatever fails next, the last one made is the one to go on
from. `NotContinued` as its failure speaks of a replica that is well.
"""

from typing import Final

from citadel_edge.completions.relay import Relay, framed
from citadel_edge.completions.request import CompletionRequest, Kind
from citadel_edge.completions.resumed import NotContinued, Resumed, finish_chunk, head_of, usage_chunk
from citadel_edge.completions.seam import Seam
from citadel_edge.completions.started import (
    bound_of,
    continues,
    cut_of,
    first_body,
    given,
    last_message,
    next_body,
    own_start,
    read,
    started,
    value,
)
from citadel_edge.fleet.engines.dialect import Dialect, Resumes, UsageAlong

__all__ = [
    "NotContinued",
    "first_body",
    "forbidden",
    "last_words",
    "listen",
    "next_body",
    "nothing_left",
    "refusal",
    "resume",
    "unable",
]

_GUIDES: Final = frozenset(
    {"structured_outputs", "structural_tag", "grammar", "json_schema", "regex", "ebnf", "format"}
)
_TOOLS: Final = ("functions", "function_call")
_THOUGHTS: Final = ("<think", "</think", "<|channel|>")
_QUOTE: Final = b'"'[0]


def forbidden(request: CompletionRequest) -> str | None:
    """Why no answer to this request could be continued, in words; None when one could."""
    if not request.stream:
        return "it is not a stream"
    if request.n != 1 or value(request, "best_of") not in (None, 1):
        return "it asks for several choices"
    if request.tools or any(given(request, name) for name in _TOOLS):
        return "it offers tools"
    if _guided(request):
        return "its output is guided"
    if given(request, "echo"):
        return "it asks for its prompt again"
    if _thinks(request):
        return "it asks for reasoning"
    return _forbidden_chat(request) if request.kind is Kind.CHAT else _forbidden_raw(request)


def _guided(request: CompletionRequest) -> bool:
    guides = [name for name in request.fields if name in _GUIDES or name.startswith("guided_")]
    if any(given(request, name) for name in guides):
        return True
    form = value(request, "response_format")
    return form is not None and not (isinstance(form, dict) and form.get("type") == "text")


def _thinks(request: CompletionRequest) -> bool:
    if value(request, "reasoning_effort") not in (None, "none") or given(request, "think"):
        return True
    kwargs = value(request, "chat_template_kwargs")
    return isinstance(kwargs, dict) and bool(kwargs.get("enable_thinking") or kwargs.get("thinking"))


def _forbidden_chat(request: CompletionRequest) -> str | None:
    if given(request, "audio") or value(request, "modalities") not in (None, ["text"]):
        return "it asks for more than text"
    if value(request, "add_generation_prompt") is False and not given(request, "continue_final_message"):
        return "it has no place where an answer begins"
    return None


def _forbidden_raw(request: CompletionRequest) -> str | None:
    if request.kind is not Kind.COMPLETION:
        return "it is no text"
    if memoryview(request.fields["prompt"])[0] != _QUOTE:
        return "its prompt is not one text"
    if value(request, "logprobs") is not None:
        return "it asks for logprobs, which count places in the text"
    return "it has a suffix" if given(request, "suffix") else None


def refusal(request: CompletionRequest, relay: Relay) -> str | None:
    """Why the answer that broke under `relay` cannot go on elsewhere, in words; None when it can."""
    why = forbidden(request) or relay.unfit
    if why is not None:
        return why
    if relay.said is None or relay.dialect is None:
        return "what it said was not written down"
    text = "".join(relay.said)
    if any(mark in text for mark in _THOUGHTS):
        return "its text bears reasoning"
    return _refused_start(request, relay.dialect) if request.kind is Kind.CHAT else None


def _refused_start(request: CompletionRequest, first: Dialect) -> str | None:
    """Why the conversation's own end forbids it."""
    if not started(request):
        return "it continues another's message" if given(request, "continue_final_message") else None
    if first.resumes is Resumes.UNSURE:
        return "nobody knows how its engine took the started answer"
    last = last_message(request)
    if read(last.get("tool_calls")) or not isinstance(read(last.get("content")), str | list | None):
        return "the answer that it begins with is no text"
    return None


def unable(request: CompletionRequest, relay: Relay, dialect: Dialect) -> str | None:
    """Why a replica of this engine cannot go on with the answer, in words; None when it can, or may be tried."""
    if not cut_of(request, relay, dialect).text:
        return None
    if request.kind is not Kind.CHAT:
        return None if dialect.resumes_raw is not Resumes.NEVER else "its engine does not continue a prompt"
    if dialect.resumes is Resumes.NEVER:
        return "its engine takes a started answer for history"
    if started(request) and not continues(request, relay) and dialect.resumes is not Resumes.FLAGS:
        return "its engine takes two messages of the assistant for one answer"
    return None


def nothing_left(request: CompletionRequest, relay: Relay) -> bool:
    """The answer needs no further call: it has its end, or has used up its tokens. `last_words` end it."""
    if relay.finished:
        return True
    bound = bound_of(request, relay)
    return bound is not None and relay.generated >= bound


def last_words(request: CompletionRequest, relay: Relay, *, prompt_tokens: int) -> bytes:
    """The events that an answer still lacks of which nothing is left to say; `[DONE]` is the caller's.

    Args:
        request: as the client sent it.
        relay: of the last call.
        prompt_tokens: an estimate, told to a client that asked for usage when no engine has told it.
    """
    head = head_of(relay)
    payloads = [] if relay.finished else [finish_chunk(head, chat=request.kind is Kind.CHAT, finish="length")]
    if request.include_usage and not relay.usage_passed:
        payloads.append(usage_chunk(head, prompt=relay.prompt_tokens or prompt_tokens, generated=relay.generated))
    return framed(payloads) if payloads else b""


def listen(request: CompletionRequest, dialect: Dialect, *, recording: bool) -> Relay:
    """The relay of a first call.

    Args:
        request: as the client sent it.
        dialect: of the replica that is called.
        recording: whether the answer may have to be continued: `forbidden(request) is None`.
    """
    return Relay(
        strip_usage=not request.include_usage, dialect=dialect, along=_along(request, dialect), recording=recording
    )


def resume(request: CompletionRequest, relay: Relay, *, dialect: Dialect) -> Resumed:
    """The relay of the call that goes on where `relay` broke off; the next failure is of this one."""
    part = cut_of(request, relay, dialect)
    said = "".join(relay.said or ())
    chat = request.kind is Kind.CHAT
    how = dialect.resumes if chat else dialect.resumes_raw
    seam = Seam(
        said=said,
        given=(own_start(request, relay) if chat else "") + said,
        end=part.end,
        again=part.again,
        sure=how is not Resumes.UNSURE or not part.text,
        stops=_stops(request),
        keeps_stop=given(request, "include_stop_str_in_output"),
    )
    return Resumed(relay, cut=part, seam=seam, strip_usage=not request.include_usage, along=_along(request, dialect))


def _along(request: CompletionRequest, dialect: Dialect) -> UsageAlong:
    """How counts beside choices are taken out: not at all where the client itself asked for them."""
    options = value(request, "stream_options") or {}
    asked = options.get("continuous_usage_stats") or value(request, "timings_per_token") is not None
    return UsageAlong.NEVER if asked else dialect.usage_along


def _stops(request: CompletionRequest) -> tuple[str, ...]:
    stop = value(request, "stop")
    found = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    return tuple(text for text in found if isinstance(text, str) and text)
