"""llama.cpp's server, as the build in the `xllamacpp` wheel speaks.

Its shapes were read off that build: error objects with `code` first, usage of chats in a frame without choices, usage
of legacy completions beside the last finish_reason, and a continued answer that repeats its prefix when it is not
streamed.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from citadel_edge.simulator.asks import Body, Kind, Refusal, messages_of, render
from citadel_edge.simulator.dialects.base import ABSENT, Dialect, Page, Pages, Reply, json_page
from citadel_edge.simulator.metrics import Family, Snapshot, counter, gauge
from citadel_edge.simulator.metrics import render as render_metrics
from citadel_edge.wire.sse import DONE, data_line

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}
PLAIN_TEXT = "text/plain; version=0.0.4"
FINGERPRINT = "b6770-simulated"


class Llamacpp(Dialect):
    """Few slots, the rest is deferred without bound; the context is cut into as many parts as there are slots."""

    default_slots: ClassVar = 4
    headers: ClassVar = {"Server": "llama.cpp"}
    reasoning_field: ClassVar = "reasoning_content"
    null_logprobs: ClassVar = False
    legacy_max_tokens: ClassVar = None
    open_paths: ClassVar = frozenset({"/health", "/v1/health", "/models", "/v1/models", "/"})

    def conversation(self, body: Body) -> tuple[str, str]:
        """A trailing assistant message is the beginning of the answer; not two of them, and not when it thinks."""
        messages = messages_of(body)
        if messages[-1]["role"] != "assistant":
            return super().conversation(body)
        if len(messages) > 1 and messages[-2]["role"] == "assistant":
            raise Refusal(400, "Cannot have 2 or more assistant messages at the end of the list.")
        if self.options.reasoning_tokens:
            raise Refusal(400, "Assistant response prefill is incompatible with enable_thinking.")
        return render(messages[:-1], body.get("tools") or ()), str(messages[-1].get("content") or "")

    def repeats_said(self, body: Body) -> bool:
        """When it is not streamed."""
        return not body.get("stream")

    def keeps_generating(self, headers: Mapping[str, str]) -> bool:
        """A conversation goes on without its reader."""
        return "x-conversation-id" in headers

    def room(self, ask: Any, prompt_tokens: int) -> int:
        """`max_tokens` past the end of the context is cut, not refused."""
        left = self.options.context_tokens - prompt_tokens
        if left <= 0:
            raise self.too_long(prompt_tokens, ask.max_tokens)
        return left if ask.max_tokens is None else min(left, ask.max_tokens)

    def too_long(self, prompt_tokens: int, max_tokens: int | None) -> Refusal:  # noqa: ARG002 - a hook
        """With the counts as fields."""
        size = self.options.context_tokens
        return Refusal(
            400,
            f"request ({prompt_tokens} tokens) exceeds the available context size ({size} tokens), try increasing it",
            type="exceed_context_size_error",
            extra={"n_prompt_tokens": prompt_tokens, "n_ctx": size},
        )

    def no_embeddings(self) -> Refusal:
        """It wants to be started otherwise."""
        return Refusal(501, "This server does not support embeddings. Start it with `--embeddings`")

    def error(self, refusal: Refusal) -> Page:
        """The status is the code, and there is no `param`."""
        kind = refusal.type or KINDS.get(refusal.status, "server_error")
        detail = {"code": refusal.status, "message": refusal.message, "type": kind}
        return json_page({"error": detail | refusal.extra}, refusal.status)

    def unauthorized(self) -> Page:
        """Its own words."""
        return self.error(Refusal(401, "Invalid API Key"))

    def answer_id(self, kind: Kind, unique: str) -> str:  # noqa: ARG002 - a hook
        """The same for completions."""
        return "chatcmpl-" + unique

    def usage(self, reply: Reply, generated: int) -> dict[str, Any]:
        """With the cached tokens."""
        return {
            "completion_tokens": generated,
            "prompt_tokens": reply.prompt_tokens,
            "total_tokens": reply.prompt_tokens + generated,
            "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
        }

    def timings(self, reply: Reply) -> dict[str, Any]:
        """How long it took, as the options say, not as the clock did: answers repeat byte by byte."""
        timing, read, made = self.options.timing, reply.prompt_tokens - reply.cached_tokens, len(reply.plan)
        return {
            "cache_n": reply.cached_tokens,
            "prompt_n": read,
            "prompt_ms": timing.prefill_s(read, 1) * 1000,
            "predicted_n": made,
            "predicted_ms": timing.decode_s(1) * 1000 * made,
        }

    def whole(self, reply: Reply) -> Any:
        """With `system_fingerprint` and `timings`."""
        return super().whole(reply) | {"system_fingerprint": FINGERPRINT, "timings": self.timings(reply)}

    def choice(self, reply: Reply, delta: Any, finish: str | None = None) -> dict[str, Any]:
        """No `logprobs` in chats."""
        if reply.ask.kind is Kind.CHAT:
            return {"finish_reason": finish, "index": 0, "delta": delta}
        return {"text": delta, "index": 0, "logprobs": None, "finish_reason": finish}

    def first_delta(self) -> dict[str, Any]:
        """Null content."""
        return {"role": "assistant", "content": None}

    def chunk(self, reply: Reply, choices: Any, usage: Any = ABSENT, **more: Any) -> bytes:
        """`choices` come first."""
        name = "chat.completion.chunk" if reply.ask.kind is Kind.CHAT else "text_completion"
        head = {"created": reply.created, "id": reply.id, "model": reply.model}
        body = {"choices": choices, **head, "system_fingerprint": FINGERPRINT, "object": name}
        if usage is not ABSENT:
            body["usage"] = usage
        return data_line(msgspec.json.encode(body | more))

    def closing(self, reply: Reply) -> bytes:
        """Timings in the last frame; legacy completions and old builds always put usage into it."""
        usage = self.usage(reply, len(reply.plan))
        timings = self.timings(reply)
        if reply.ask.kind is not Kind.CHAT:
            return self.chunk(reply, [self.choice(reply, "", reply.plan.finish)], usage, timings=timings) + DONE
        last = [self.choice(reply, {}, reply.plan.finish)]
        if self.options.usage_always:
            return self.chunk(reply, last, usage, timings=timings) + DONE
        if reply.ask.include_usage:
            return self.chunk(reply, last) + self.chunk(reply, [], usage, timings=timings) + DONE
        return self.chunk(reply, last, timings=timings) + DONE

    def pages(self) -> Pages:
        """Metrics only when they are switched on."""
        return {
            "/health": lambda _: json_page({"status": "ok"}),
            "/v1/health": lambda _: json_page({"status": "ok"}),
            "/metrics": self.metrics_page,
            "/props": lambda now: json_page(self.props(now)),
            "/slots": lambda now: json_page(self.slot_list(now)),
            "/models": lambda _: json_page(self.models()),
            "/v1/models": lambda _: json_page(self.models()),
        }

    def models(self) -> dict[str, Any]:
        """Two lists, one in Ollama's manner."""
        options = self.options
        meta = {"vocab_type": 1, "n_vocab": 256, "n_ctx": options.context_tokens, "n_ctx_train": options.context_tokens}
        card: dict[str, Any] = {"id": options.model, "aliases": [options.model], "tags": [], "object": "model"}
        card |= {"created": options.created, "owned_by": "llamacpp", "meta": meta}
        native: dict[str, Any] = {
            "name": options.model,
            "model": options.model,
            "type": "model",
            "capabilities": ["completion"],
        }
        return {"models": [native], "object": "list", "data": [card]}

    def props(self, now: Snapshot) -> dict[str, Any]:
        """What a router asks for the number of slots and the context of each."""
        return {
            "default_generation_settings": {"params": {}, "n_ctx": self.options.context_tokens},
            "total_slots": now.slots,
            "model_alias": self.options.model,
            "model_path": self.options.model,
            "modalities": {"vision": False, "video": False, "audio": False},
            "endpoint_slots": True,
            "endpoint_metrics": self.options.metrics,
            "chat_template": "",
            "build_info": FINGERPRINT,
            "is_sleeping": False,
        }

    def slot_list(self, now: Snapshot) -> list[dict[str, Any]]:
        """One object a slot."""
        size = self.options.context_tokens
        return [
            {"id": slot, "n_ctx": size, "speculative": False, "is_processing": slot < now.running}
            for slot in range(now.slots)
        ]

    def metrics_page(self, now: Snapshot) -> Page:
        """Without `--metrics` it says so."""
        if not self.options.metrics:
            text = "This server does not support metrics endpoint. Start it with `--metrics`"
            return self.error(Refusal(501, text))
        return Page(render_metrics(self.metrics(now)), content_type=PLAIN_TEXT)

    def metrics(self, now: Snapshot) -> list[Family]:
        """No labels, and no gauge of key-value memory."""
        read = now.prompt_tokens - now.cache_hits
        name = "llamacpp:{}".format
        return [
            counter(name("prompt_tokens_total"), "Number of prompt tokens processed, excluding cached tokens", read),
            counter(name("prompt_tokens_cached_total"), "Number of prompt tokens reused from cache", now.cache_hits),
            counter(name("prompt_seconds_total"), "Total time spent processing prompts", now.prefill_s),
            counter(name("tokens_predicted_total"), "Number of generation tokens processed", now.generated_tokens),
            counter(name("tokens_predicted_seconds_total"), "Total time spent generating tokens", now.decode_s),
            gauge(name("requests_processing"), "Number of requests processing", now.running),
            gauge(name("requests_deferred"), "Number of requests deferred", now.waiting),
        ]
