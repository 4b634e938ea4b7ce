"""vLLM, as of its OpenAI server with metrics of the V1 engine."""

from typing import Any, ClassVar

from citadel_edge.simulator.asks import Body, Kind, Refusal, messages_of, render
from citadel_edge.simulator.dialects.base import (
    ABSENT,
    ENGINE_TEXT,
    Dialect,
    Page,
    Pages,
    Reply,
    json_page,
)
from citadel_edge.simulator.metrics import Family, Snapshot, counter, gauge
from citadel_edge.simulator.metrics import render as render_metrics

KINDS = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 429: "TooManyRequestsError"}


class Vllm(Dialect):
    """Queue grows without bound; usage on request; continuation by flags."""

    headers: ClassVar = {"Server": "uvicorn"}
    stream_type: ClassVar = "text/event-stream; charset=utf-8"
    early_headers: ClassVar = True
    finish_rides: ClassVar = True
    reasoning_field: ClassVar = "reasoning"
    open_paths: ClassVar = frozenset({"/health", "/ping", "/version", "/metrics", "/load"})

    def check(self, kind: Kind, body: Body) -> None:
        """Unknown models, priorities, and options of streams outside of them are refused."""
        super().check(kind, body)
        if body.get("model") not in (None, self.options.model):
            raise Refusal(404, f"The model `{body['model']}` does not exist.", param="model")
        if body.get("stream_options") and not body.get("stream"):
            raise Refusal(400, "Stream options can only be defined when `stream=True`.")
        if body.get("priority"):
            raise Refusal(400, f"Got priority {body['priority']} but Priority scheduling is not enabled.")

    def conversation(self, body: Body) -> tuple[str, str]:
        """`continue_final_message` continues, and only without a generation prompt, which is the default."""
        messages = messages_of(body)
        if not body.get("continue_final_message"):
            return super().conversation(body)
        if body.get("add_generation_prompt", True):
            raise Refusal(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        last = messages[-1]
        history = render(messages[:-1], body.get("tools") or ()).removesuffix("<|assistant|>\n")
        return f"{history}<|{last['role']}|>\n", str(last.get("content") or "")

    def repeats_said(self, body: Body) -> bool:
        """`echo`."""
        return bool(body.get("echo"))

    def too_long(self, prompt_tokens: int, max_tokens: int | None) -> Refusal:
        """The prompt alone, or with the tokens that are asked for."""
        limit = self.options.context_tokens
        if prompt_tokens >= limit:
            return Refusal(
                400,
                f"This model's maximum context length is {limit} tokens. However, your request has {prompt_tokens} "
                "input tokens. Please reduce the length of the input messages.",
                param="input_tokens",
            )
        return Refusal(
            400,
            f"'max_tokens' or 'max_completion_tokens' is too large: {max_tokens}. This model's maximum context length "
            f"is {limit} tokens and your request has {prompt_tokens} input tokens "
            f"({max_tokens} > {limit} - {prompt_tokens}).",
            param="max_tokens",
        )

    def error(self, refusal: Refusal) -> Page:
        """The code is the status, as a number."""
        kind = refusal.type or KINDS.get(refusal.status, "InternalServerError")
        detail = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.status}
        return json_page({"error": detail}, refusal.status)

    def unauthorized(self) -> Page:
        """A body of its own kind."""
        return json_page({"error": "Unauthorized"}, 401)

    def error_frames(self) -> bytes:
        """The error, and then the end mark all the same."""
        return super().error_frames() + b"data: [DONE]\n\n"

    def usage(self, reply: Reply, generated: int) -> dict[str, Any]:
        """With the cached tokens, as with `--enable-prompt-tokens-details`."""
        return {
            "prompt_tokens": reply.prompt_tokens,
            "total_tokens": reply.prompt_tokens + generated,
            "completion_tokens": generated,
            "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
        }

    def usage_along(self, reply: Reply, generated: int) -> Any:
        """In every frame with `continuous_usage_stats`, which needs `include_usage`."""
        ask = reply.ask
        return self.usage(reply, generated) if ask.include_usage and ask.continuous_usage else ABSENT

    def last_delta(self) -> dict[str, Any]:
        """Empty content."""
        return {"content": ""}

    def choice(self, reply: Reply, delta: Any, finish: str | None = None) -> dict[str, Any]:
        """`stop_reason` beside the finish."""
        choice = super().choice(reply, delta, finish)
        return choice | {"stop_reason": None} if finish else choice

    def pages(self) -> Pages:
        """The probe is an empty 200."""
        return {
            "/health": lambda _: Page(),
            "/ping": lambda _: Page(),
            "/version": lambda _: json_page({"version": "0.11.0"}),
            "/load": lambda now: json_page({"server_load": now.running + now.waiting}),
            "/metrics": lambda now: Page(render_metrics(self.metrics(now)), content_type=ENGINE_TEXT),
            "/v1/models": lambda _: json_page(self.models()),
        }

    def models(self) -> dict[str, Any]:
        """With the context's size."""
        options = self.options
        card = {"id": options.model, "object": "model", "created": options.created, "owned_by": "vllm"}
        card |= {"root": options.model, "parent": None, "max_model_len": options.context_tokens, "permission": []}
        return {"object": "list", "data": [card]}

    def metrics(self, now: Snapshot) -> list[Family]:
        """The V1 engine's names."""
        labels = f'{{engine="0",model_name="{self.options.model}"}}'
        kv_usage = "vllm:gpu_cache_usage_perc" if self.options.old_gauges else "vllm:kv_cache_usage_perc"
        finished = {
            f'{{engine="0",finished_reason="{reason}",model_name="{self.options.model}"}}': float(number)
            for reason, number in now.finished.items()
        }
        return [
            gauge("vllm:num_requests_running", "Number of requests in model execution batches.", now.running, labels),
            gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", now.waiting, labels),
            gauge(kv_usage, "KV-cache usage. 1 means 100 percent usage.", now.kv_usage, labels),
            counter("vllm:prefix_cache_queries_total", "Prefix cache queries, in tokens.", now.cache_queries, labels),
            counter("vllm:prefix_cache_hits_total", "Prefix cache hits, in tokens.", now.cache_hits, labels),
            counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.", now.prompt_tokens, labels),
            counter("vllm:generation_tokens_total", "Number of generated tokens.", now.generated_tokens, labels),
            Family("vllm:request_success_total", "counter", "Count of successfully processed requests.", finished),
        ]
