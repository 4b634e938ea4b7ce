"""Hugging Face's Text Generation Inference: one model, 429 past its permits, 424 when generation fails."""

from typing import Any, ClassVar

from citadel_edge.simulator.asks import Body, Kind, Refusal, messages_of, render
from citadel_edge.simulator.dialects.base import ENGINE_TEXT, Dialect, Page, Pages, Reply, json_page
from citadel_edge.simulator.metrics import Family, Snapshot, counter, gauge
from citadel_edge.simulator.metrics import render as render_metrics
from citadel_edge.wire.sse import data_line

MAX_CONCURRENT_REQUESTS = 128
KINDS = {422: "validation", 429: "overloaded", 424: "generation", 500: "incomplete_generation", 503: "healthcheck"}
VERSION = "3.3.4"


class Tgi(Dialect):
    """The model's name in a request means nothing."""

    default_slots: ClassVar = 32
    early_headers: ClassVar = True
    finish_rides: ClassVar = True
    legacy_max_tokens: ClassVar = 100
    open_paths: ClassVar = frozenset({"/health", "/ping", "/metrics"})

    def queue_limit(self) -> int | None:
        """The permits that no slot takes."""
        if self.options.queue is not None:
            return self.options.queue
        return max(0, MAX_CONCURRENT_REQUESTS - self.slots)

    def overloaded(self) -> Refusal:
        """Its words."""
        return Refusal(429, "Model is overloaded")

    def conversation(self, body: Body) -> tuple[str, str]:
        """A trailing assistant message is continued, but its end is trimmed."""
        messages = messages_of(body)
        last = messages[-1]
        if last["role"] != "assistant":
            return super().conversation(body)
        return render(messages[:-1], body.get("tools") or ()), str(last.get("content") or "").rstrip()

    def serves_embeddings(self) -> bool:
        """Never: another server of theirs does that."""
        return False

    def too_long(self, prompt_tokens: int, max_tokens: int | None) -> Refusal:
        """422, not 400."""
        limit = self.options.context_tokens
        if prompt_tokens >= limit:
            text = f"`inputs` must have less than {limit} tokens. Given: {prompt_tokens}"
        else:
            text = (
                f"`inputs` tokens + `max_new_tokens` must be <= {limit}. "
                f"Given: {prompt_tokens} `inputs` tokens and {max_tokens} `max_new_tokens`"
            )
        return Refusal(422, f"Input validation error: {text}")

    def error(self, refusal: Refusal) -> Page:
        """A text and its type, no object; malformed requests are 422."""
        status = 422 if refusal.status == 400 else refusal.status  # noqa: PLR2004 - Bad Request
        return json_page(
            {"error": refusal.message, "error_type": refusal.type or KINDS.get(status, "generation")}, status
        )

    def failed(self, status: int) -> Page:
        """With its prefix."""
        words = {424: "Request failed during generation: Server error: CUDA error", 429: "Model is overloaded"}
        return self.error(Refusal(status, words.get(status, "Incomplete generation")))

    def error_frames(self) -> bytes:
        """A failure of generation, and then nothing."""
        return data_line(self.failed(424).body)

    def head(self, reply: Reply, name: str) -> dict[str, Any]:
        """Without an id; the model is the one served."""
        head = {"object": name, "id": "", "created": reply.created, "model": self.options.model}
        return head | {"system_fingerprint": f"{VERSION}-native"}

    def first_delta(self) -> None:
        """No opening frame: the role is on every one."""
        return

    def delta(self, field: str, text: str) -> dict[str, Any]:
        """The role on every frame."""
        return {"role": "assistant", field: text}

    def last_delta(self) -> dict[str, Any]:
        """The end token, which is no text."""
        return {"role": "assistant", "content": ""}

    def usage_along(self, reply: Reply, generated: int) -> Any:  # noqa: ARG002 - a hook
        """Null."""
        return None

    def pages(self) -> Pages:
        """The probe is an empty 200."""
        return {
            "/health": lambda _: Page(),
            "/ping": lambda _: Page(),
            "/info": lambda now: json_page(self.info(now)),
            "/metrics": lambda now: Page(render_metrics(self.metrics(now)), content_type=ENGINE_TEXT),
            "/v1/models": lambda _: json_page(self.models()),
        }

    def models(self) -> dict[str, Any]:
        """One entry, made at time zero."""
        model = self.options.model
        return {"object": "list", "data": [{"id": model, "object": "model", "created": 0, "owned_by": model}]}

    def info(self, now: Snapshot) -> dict[str, Any]:
        """What is served, and its bounds."""
        return {
            "model_id": self.options.model,
            "model_sha": None,
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": now.slots + (self.queue_limit() or 0),
            "max_best_of": 2,
            "max_stop_sequences": 4,
            "max_input_tokens": self.options.context_tokens - 1,
            "max_total_tokens": self.options.context_tokens,
            "validation_workers": 2,
            "max_client_batch_size": 4,
            "router": "text-generation-router",
            "version": VERSION,
        }

    def metrics(self, now: Snapshot) -> list[Family]:
        """No labels."""
        total = sum(now.finished.values())
        return [
            gauge("tgi_queue_size", "Current number of requests in queue.", now.waiting),
            gauge("tgi_batch_current_size", "Current batch size.", now.running),
            counter("tgi_request_success", "Number of successful requests.", total),
            counter("tgi_request_generated_tokens_sum", "Generated tokens.", now.generated_tokens),
            counter("tgi_request_input_length_sum", "Input tokens.", now.prompt_tokens),
        ]

    def answer_id(self, kind: Kind, unique: str) -> str:  # noqa: ARG002 - a hook
        """It has none, but a tool call needs one."""
        return unique
