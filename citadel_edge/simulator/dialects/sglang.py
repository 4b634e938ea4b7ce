"""SGLang: usage both ways, the last assistant message is taken off when it is to be continued.

A model name that is not served is taken as the one that is.
"""

from typing import Any, ClassVar

from citadel_edge.simulator.asks import Body, Refusal, messages_of, render
from citadel_edge.simulator.dialects.base import ENGINE_TEXT, Dialect, Page, Pages, Reply, json_page
from citadel_edge.simulator.metrics import Family, Snapshot, counter, gauge
from citadel_edge.simulator.metrics import render as render_metrics

KINDS = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 503: "ServiceUnavailableError"}


class Sglang(Dialect):
    """Queue grows without bound."""

    headers: ClassVar = {"Server": "uvicorn"}
    stream_type: ClassVar = "text/event-stream; charset=utf-8"
    early_headers: ClassVar = True
    reasoning_field: ClassVar = "reasoning_content"
    open_paths: ClassVar = frozenset({"/health", "/health_generate", "/ready", "/metrics"})

    def conversation(self, body: Body) -> tuple[str, str]:
        """`continue_final_message` concerns an assistant message alone."""
        messages = messages_of(body)
        last = messages[-1]
        if body.get("continue_final_message") and last["role"] == "assistant":
            return render(messages[:-1], body.get("tools") or ()), str(last.get("content") or "")
        return super().conversation(body)

    def too_long(self, prompt_tokens: int, max_tokens: int | None) -> Refusal:
        """The prompt alone, or with the tokens that are asked for."""
        limit = self.options.context_tokens
        if prompt_tokens >= limit:
            text = f"The input ({prompt_tokens} tokens) is longer than the model's context length ({limit} tokens)."
            return Refusal(400, text)
        asked = max_tokens or 0
        return Refusal(
            400,
            f"Requested token count exceeds the model's maximum context length of {limit} tokens. You requested a "
            f"total of {prompt_tokens + asked} tokens: {prompt_tokens} tokens from the input messages and {asked} "
            "tokens for the completion. Please reduce the number of tokens in the input messages or the completion "
            "to fit within the limit.",
        )

    def error(self, refusal: Refusal) -> Page:
        """Flat, with the status as a number."""
        kind = refusal.type or KINDS.get(refusal.status, "InternalServerError")
        detail = {"object": "error", "message": refusal.message, "type": kind, "param": refusal.param}
        return json_page(detail | {"code": refusal.status}, refusal.status)

    def unauthorized(self) -> Page:
        """A body of its own kind."""
        return json_page({"error": "Unauthorized"}, 401)

    def error_frames(self) -> bytes:
        """The error under `error`, and then the end mark all the same."""
        return b'data: {"error": ' + self.failed(500).body + b"}\n\ndata: [DONE]\n\n"

    def usage(self, reply: Reply, generated: int) -> dict[str, Any]:
        """With the cached tokens, as with `--enable-cache-report`."""
        return {
            "prompt_tokens": reply.prompt_tokens,
            "total_tokens": reply.prompt_tokens + generated,
            "completion_tokens": generated,
            "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
            "reasoning_tokens": min(generated, len(reply.plan.thought)),
        }

    def usage_along(self, reply: Reply, generated: int) -> Any:
        """Null, or the count so far."""
        ask = reply.ask
        return self.usage(reply, generated) if ask.include_usage and ask.continuous_usage else None

    def first_delta(self) -> dict[str, Any]:
        """All fields, most of them null."""
        return {"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": None}

    def delta(self, field: str, text: str) -> dict[str, Any]:
        """All fields, most of them null."""
        return {"role": None, "content": None, "reasoning_content": None, "tool_calls": None, field: text}

    def last_delta(self) -> dict[str, Any]:
        """All fields null."""
        return {"role": None, "content": None, "reasoning_content": None, "tool_calls": None}

    def choice(self, reply: Reply, delta: Any, finish: str | None = None) -> dict[str, Any]:
        """`matched_stop` beside the finish."""
        return super().choice(reply, delta, finish) | {"matched_stop": None}

    def pages(self) -> Pages:
        """`/ready` is the cheap probe; `/health` generates a token."""
        return {
            "/ready": lambda _: Page(),
            "/health": lambda _: Page(),
            "/health_generate": lambda _: Page(),
            "/metrics": lambda now: Page(render_metrics(self.metrics(now)), content_type=ENGINE_TEXT),
            "/v1/models": lambda _: json_page(self.models()),
            "/get_model_info": lambda _: json_page(self.model_info()),
            "/model_info": lambda _: json_page(self.model_info()),
            "/get_server_info": lambda now: json_page(self.server_info(now)),
            "/server_info": lambda now: json_page(self.server_info(now)),
            "/get_load": lambda now: json_page([self.load(now)]),
        }

    def models(self) -> dict[str, Any]:
        """With the context's size."""
        options = self.options
        card = {"id": options.model, "object": "model", "created": options.created, "owned_by": "sglang"}
        card |= {"root": options.model, "parent": None, "max_model_len": options.context_tokens}
        return {"object": "list", "data": [card]}

    def model_info(self) -> dict[str, Any]:
        """What is served."""
        model = self.options.model
        return {"model_path": model, "tokenizer_path": model, "is_generation": True, "weight_version": "default"}

    def server_info(self, now: Snapshot) -> dict[str, Any]:
        """How it is served."""
        return {
            "model_path": self.options.model,
            "served_model_name": self.options.model,
            "context_length": self.options.context_tokens,
            "max_running_requests": now.slots,
            "max_total_num_tokens": self.options.cache_blocks * 16,
            "internal_states": [{"effective_max_running_requests_per_dp": now.slots}],
            "version": "0.5.4",
        }

    def load(self, now: Snapshot) -> dict[str, Any]:
        """One data-parallel rank."""
        tokens = round(now.kv_usage * self.options.cache_blocks * 16)
        requests = now.running + now.waiting
        return {"dp_rank": 0, "num_reqs": requests, "num_waiting_reqs": now.waiting, "num_tokens": tokens}

    def metrics(self, now: Snapshot) -> list[Family]:
        """Names with the prefix of either age."""
        prefix = self.options.metrics_prefix
        labels = f'{{engine_type="unified",model_name="{self.options.model}",pp_rank="0",tp_rank="0"}}'
        rate = now.cache_hits / now.cache_queries if now.cache_queries else 0.0
        return [
            gauge(f"{prefix}num_running_reqs", "The number of running requests.", now.running, labels),
            gauge(f"{prefix}num_queue_reqs", "The number of requests in the waiting queue.", now.waiting, labels),
            gauge(f"{prefix}token_usage", "The token usage.", now.kv_usage, labels),
            gauge(f"{prefix}cache_hit_rate", "The prefix cache hit rate.", rate, labels),
            counter(f"{prefix}prompt_tokens_total", "Number of prefill tokens processed.", now.prompt_tokens, labels),
            counter(f"{prefix}cached_tokens_total", "Number of cached prompt tokens.", now.cache_hits, labels),
            counter(f"{prefix}generation_tokens_total", "Number of generated tokens.", now.generated_tokens, labels),
        ]
