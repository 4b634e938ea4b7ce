"""Ollama's OpenAI-compatible routes and the native ones that tell its state.

It has no load metrics. It drops the oldest part of a prompt that does not fit instead of refusing it, takes unknown
fields silently (flags that continue an answer among them) and forces no tool.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from citadel_edge.simulator.asks import Ask, Body, Kind, Refusal
from citadel_edge.simulator.dialects.base import ABSENT, Dialect, Page, Pages, Reply, json_page
from citadel_edge.simulator.metrics import Snapshot
from citadel_edge.simulator.text import tokens
from citadel_edge.wire.openai import error_type

MAX_QUEUE = 512
NO_LIMIT_CONTEXTS = 10  # without max_tokens it shifts its context and goes on, up to this many of them
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
FOREVER = "2318-04-05T00:00:00Z"
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "7B",
    "quantization_level": "Q4_K_M",
}


class Ollama(Dialect):
    """One slot; 503 past a queue of 512."""

    default_slots: ClassVar = 1
    reasoning_field: ClassVar = "reasoning"
    null_logprobs: ClassVar = False
    legacy_max_tokens: ClassVar = None
    open_paths: ClassVar = frozenset({"/", "/api/version"})

    def queue_limit(self) -> int | None:
        """`OLLAMA_MAX_QUEUE`."""
        return MAX_QUEUE if self.options.queue is None else self.options.queue

    def overloaded(self) -> Refusal:
        """Two spaces, as there."""
        return Refusal(503, "server busy, please try again.  maximum pending requests exceeded")

    def check(self, kind: Kind, body: Body) -> None:
        """Unknown models are refused."""
        super().check(kind, body)
        name = body.get("model")
        if not name:
            raise Refusal(400, "model is required")
        if name not in (self.options.model, self.options.model.removesuffix(":latest")):
            raise Refusal(404, f"model '{name}' not found")

    def read(self, kind: Kind, body: Body) -> Ask:
        """What does not fit is cut off at the front."""
        ask = super().read(kind, body)
        if kind is Kind.CHAT:
            return replace(ask, prompt=self._tail(ask.prompt))
        return replace(ask, said=self._tail(ask.said))

    def _tail(self, text: str) -> str:
        parts = tokens(text)
        size = self.options.context_tokens
        return text if len(parts) <= size else "".join(parts[-size:])

    def tool(self, body: Body) -> tuple[str, Mapping[str, Any]] | None:  # noqa: ARG002 - a hook
        """`tool_choice` is not supported: no call is ever forced."""
        return None

    def room(self, ask: Ask, prompt_tokens: int) -> int:  # noqa: ARG002 - a hook
        """The context shifts, so there is always room."""
        if ask.max_tokens is None:
            return NO_LIMIT_CONTEXTS * self.options.context_tokens
        return ask.max_tokens

    def error(self, refusal: Refusal) -> Page:
        """`param` and `code` are always null."""
        detail = {"message": refusal.message, "type": error_type(refusal.status), "param": None, "code": None}
        return json_page({"error": detail}, refusal.status)

    def head(self, reply: Reply, name: str) -> dict[str, Any]:
        """With its fingerprint."""
        return super().head(reply, name) | {"system_fingerprint": "fp_ollama"}

    def answer_id(self, kind: Kind, unique: str) -> str:
        """A small number."""
        return super().answer_id(kind, str(int(unique[:8], 16) % 999))

    def choice(self, reply: Reply, delta: Any, finish: str | None = None) -> dict[str, Any]:
        """No `logprobs`."""
        part = {"delta": delta} if reply.ask.kind is Kind.CHAT else {"text": delta}
        return {"index": 0, **part, "finish_reason": finish}

    def first_delta(self) -> None:
        """No opening frame: the role is on every one."""
        return

    def delta(self, field: str, text: str) -> dict[str, Any]:
        """The role on every frame; empty content beside reasoning."""
        return {"role": "assistant", "content": "", field: text}

    def last_delta(self) -> dict[str, Any]:
        """The role, too."""
        return {"role": "assistant", "content": ""}

    def usage_along(self, reply: Reply, generated: int) -> Any:  # noqa: ARG002 - a hook
        """Zeros in legacy completions."""
        return ABSENT if reply.ask.kind is Kind.CHAT else ZERO

    def pages(self) -> Pages:
        """Native routes."""
        return {
            "/": lambda _: Page(b"Ollama is running", content_type="text/plain; charset=utf-8"),
            "/api/version": lambda _: json_page({"version": "0.12.6"}),
            "/api/ps": lambda now: json_page({"models": [self.loaded(now)]}),
            "/api/tags": lambda _: json_page({"models": [self.native() | {"modified_at": "2025-10-09T08:53:20Z"}]}),
            "/v1/models": lambda _: json_page(self.models()),
        }

    def models(self) -> dict[str, Any]:
        """No context size."""
        options = self.options
        card = {"id": options.model, "object": "model", "created": options.created, "owned_by": "library"}
        return {"object": "list", "data": [card]}

    def native(self) -> dict[str, Any]:
        """A model in its own terms."""
        model = self.options.model
        return {"name": model, "model": model, "size": 4_661_224_676, "digest": "0" * 64, "details": DETAILS}

    def loaded(self, now: Snapshot) -> dict[str, Any]:  # noqa: ARG002 - load is not told
        """A model in memory."""
        memory = {"expires_at": FOREVER, "size_vram": 4_661_224_676}
        return self.native() | memory | {"context_length": self.options.context_tokens}
