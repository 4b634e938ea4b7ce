"""What the dialects have in common: OpenAI's shapes, and the hooks in which the engines differ.

Decides bodies, frames, refusals and limits. Pure. Refuses to know sockets, time and faults.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from citadel_edge.simulator.asks import (
    Ask,
    Body,
    Kind,
    Refusal,
    forced_tool,
    messages_of,
    raw_prompt,
    render,
    stops_of,
    whole_number,
)
from citadel_edge.simulator.metrics import Snapshot
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.plan import Plan
from citadel_edge.wire.openai import error_type
from citadel_edge.wire.sse import DONE, data_line

JSON: Final = "application/json"
MARK: Final = "\x00here\x00"
MARK_JSON: Final = msgspec.json.encode(MARK)
Absent = msgspec.UnsetType
ABSENT: Final = msgspec.UNSET
ENGINE_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """A short answer."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What all frames of one answer share."""

    id: str
    created: int
    model: str
    ask: Ask
    plan: Plan
    prompt_tokens: int
    cached_tokens: int


Pages = Mapping[str, Callable[[Snapshot], Page]]


def json_page(value: Any, status: int = 200) -> Page:
    """A page of JSON."""
    return Page(msgspec.json.encode(value), status)


class Dialect:
    """One engine. Subclasses change what differs."""

    default_slots: ClassVar[int] = 256
    headers: ClassVar[Mapping[str, str]] = {}
    stream_type: ClassVar[str] = "text/event-stream"
    early_headers: ClassVar[bool] = False  # a stream's headers are sent before a slot is free
    finish_rides: ClassVar[bool] = False  # at the limit, the last token and finish_reason share a chunk
    reasoning_field: ClassVar[str | None] = None
    null_logprobs: ClassVar[bool] = True  # in whole answers
    legacy_max_tokens: ClassVar[int | None] = 16
    open_paths: ClassVar[frozenset[str]] = frozenset()  # served without a key

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.slots = options.slots or self.default_slots

    # -- what it is asked ------------------------------------------------------------------------

    def queue_limit(self) -> int | None:
        """How many requests may wait for a slot; None: any number."""
        return self.options.queue

    def overloaded(self) -> Refusal:
        """The answer when the queue is full."""
        return Refusal(503, "The server is overloaded, please try again later")

    def read(self, kind: Kind, body: Body) -> Ask:
        """The request, by this engine's rules.

        Raises:
            Refusal: in the engine's words.
        """
        self.check(kind, body)
        chat = kind is Kind.CHAT
        prompt, said = self.conversation(body) if chat else ("", raw_prompt(body))
        options = body.get("stream_options") or {}
        stream = bool(body.get("stream"))
        asked = whole_number(body, "max_completion_tokens", "max_tokens", "n_predict")
        return Ask(
            kind=kind,
            model=str(body.get("model") or self.options.model),
            stream=stream,
            prompt=prompt,
            said=said,
            repeats_said=chat and self.repeats_said(body),
            max_tokens=asked if asked is not None or chat else self.legacy_max_tokens,
            stop=stops_of(body),
            include_usage=stream and bool(options.get("include_usage")),
            continuous_usage=stream and bool(options.get("continuous_usage_stats")),
            endless=bool(body.get("ignore_eos")),
            tool=self.tool(body) if chat else None,
        )

    def check(self, kind: Kind, body: Body) -> None:  # noqa: ARG002 - a hook
        """Refuse what this engine refuses."""
        if (body.get("n") or 1) != 1:
            raise Refusal(400, "n must be 1", param="n")

    def conversation(self, body: Body) -> tuple[str, str]:
        """The rendered conversation, and the assistant message that is to be continued ("" for a new one)."""
        return render(messages_of(body), body.get("tools") or ()), ""

    def repeats_said(self, body: Body) -> bool:  # noqa: ARG002 - a hook
        """Whether a whole answer begins with the text that it continues."""
        return False

    def tool(self, body: Body) -> tuple[str, Mapping[str, Any]] | None:
        """The tool that must be called."""
        return forced_tool(body)

    def keeps_generating(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002 - a hook
        """Whether the answer is generated to its end although the client left; header names in lower case."""
        return False

    def room(self, ask: Ask, prompt_tokens: int) -> int:
        """How many tokens may be generated.

        Raises:
            Refusal: the request does not fit the context.
        """
        left = self.options.context_tokens - prompt_tokens
        if left <= 0 or (ask.max_tokens or 0) > left:
            raise self.too_long(prompt_tokens, ask.max_tokens)
        return left if ask.max_tokens is None else ask.max_tokens

    def serves_embeddings(self) -> bool:
        """Whether it has the route."""
        return self.options.embeddings

    def no_embeddings(self) -> Refusal:
        """The answer where it has not."""
        return Refusal(404, "The model does not support Embeddings API")

    def too_long(self, prompt_tokens: int, max_tokens: int | None) -> Refusal:
        """The refusal of a request that does not fit."""
        raise NotImplementedError

    # -- what it answers -------------------------------------------------------------------------

    def pages(self) -> Pages:
        """The GET routes and what they show; a query string is ignored."""
        raise NotImplementedError

    def error(self, refusal: Refusal) -> Page:
        """A refusal as the engine words it."""
        detail = {
            "message": refusal.message,
            "type": refusal.type or error_type(refusal.status),
            "param": refusal.param,
            "code": refusal.code,
        }
        return json_page({"error": detail | refusal.extra}, refusal.status)

    def unauthorized(self) -> Page:
        """The answer to a missing or wrong key."""
        return self.error(
            Refusal(401, "Incorrect API key provided.", type="invalid_request_error", code="invalid_api_key")
        )

    def failed(self, status: int) -> Page:
        """What the engine says when it fails with this status."""
        words = {429: "Too many requests", 424: "Request failed during generation", 503: "Service unavailable"}
        return self.error(Refusal(status, words.get(status, "Internal server error")))

    def error_frames(self) -> bytes:
        """How a failure in the middle of a stream is reported."""
        return data_line(self.failed(500).body)

    def whole(self, reply: Reply) -> Any:
        """The body of an answer that is not streamed."""
        ask, plan = reply.ask, reply.plan
        choice: dict[str, Any] = {"index": 0}
        if ask.kind is Kind.CHAT:
            choice["message"] = self.message(reply)
        else:
            choice["text"] = plan.text
        choice |= {"logprobs": None} if self.null_logprobs else {}
        choice["finish_reason"] = plan.finish
        head = self.head(reply, "chat.completion" if ask.kind is Kind.CHAT else "text_completion")
        return {**head, "choices": [choice], "usage": self.usage(reply, len(plan))}

    def message(self, reply: Reply) -> dict[str, Any]:
        """The assistant's message of a whole answer."""
        plan = reply.plan
        message: dict[str, Any] = {"role": "assistant", "content": plan.text}
        if reply.ask.repeats_said:
            message["content"] = reply.ask.said + plan.text
        if plan.tool is not None:
            message["content"] = None
            message["tool_calls"] = [self.call(reply, plan.tool, plan.text)]
        if plan.thought and self.reasoning_field:
            message[self.reasoning_field] = "".join(plan.thought)
        return message

    def call(self, reply: Reply, name: str, arguments: str) -> dict[str, Any]:
        """A tool call."""
        function = {"name": name, "arguments": arguments}
        return {"id": "call_" + reply.id.rpartition("-")[2][:24], "type": "function", "function": function}

    def head(self, reply: Reply, name: str) -> dict[str, Any]:
        """The first fields of a body."""
        return {"id": reply.id, "object": name, "created": reply.created, "model": reply.model}

    def usage(self, reply: Reply, generated: int) -> dict[str, Any]:
        """The tokens so far."""
        return {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": generated,
            "total_tokens": reply.prompt_tokens + generated,
        }

    def answer_id(self, kind: Kind, unique: str) -> str:
        """The id of an answer, from 32 hexadecimal digits."""
        return ("chatcmpl-" if kind is Kind.CHAT else "cmpl-") + unique

    # -- its frames ------------------------------------------------------------------------------

    def chunk(self, reply: Reply, choices: Sequence[Any], usage: Any = ABSENT) -> bytes:
        """One frame of a stream."""
        name = "chat.completion.chunk" if reply.ask.kind is Kind.CHAT else "text_completion"
        body = {**self.head(reply, name), "choices": choices}
        if usage is not ABSENT:
            body["usage"] = usage
        return data_line(msgspec.json.encode(body))

    def choice(self, reply: Reply, delta: Any, finish: str | None = None) -> dict[str, Any]:
        """One choice of a frame; `delta` is the text itself in legacy completions."""
        part = {"delta": delta} if reply.ask.kind is Kind.CHAT else {"text": delta}
        return {"index": 0, **part, "logprobs": None, "finish_reason": finish}

    def first_delta(self) -> dict[str, Any] | None:
        """The delta that opens a chat; None when there is no frame for it."""
        return {"role": "assistant", "content": ""}

    def delta(self, field: str, text: str) -> dict[str, Any]:
        """The delta of one token."""
        return {field: text}

    def call_delta(self, arguments: str) -> dict[str, Any]:
        """The delta of a piece of a tool call's arguments."""
        return {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}

    def last_delta(self) -> dict[str, Any]:
        """The delta beside finish_reason."""
        return {}

    def usage_along(self, reply: Reply, generated: int) -> Any:  # noqa: ARG002 - a hook
        """Usage in the frames that carry choices."""
        return ABSENT

    def closing(self, reply: Reply) -> bytes:
        """The last frames: finish_reason, usage if it was asked for, and the end mark."""
        finish = reply.plan.finish
        frames = b""
        if not self.rides(reply):
            delta = self.last_delta() if reply.ask.kind is Kind.CHAT else ""
            frames = self.chunk(reply, [self.choice(reply, delta, finish)], self.usage_along(reply, len(reply.plan)))
        if self.usage_last(reply):
            frames += self.chunk(reply, [], self.usage(reply, len(reply.plan)))
        return frames + DONE

    def usage_last(self, reply: Reply) -> bool:
        """Whether a frame with usage and without choices ends the stream."""
        return reply.ask.include_usage

    def rides(self, reply: Reply) -> bool:
        """Whether finish_reason comes with the last token."""
        return self.finish_rides and reply.plan.finish == "length" and len(reply.plan) > 0
