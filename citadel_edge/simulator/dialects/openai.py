"""OpenAI itself, and servers that are compatible with it and nothing more: no probe route, no load metrics."""

from typing import Any, ClassVar

from citadel_edge.simulator.asks import Body, Kind, Refusal
from citadel_edge.simulator.dialects.base import ABSENT, Dialect, Pages, Reply, json_page


class OpenAI(Dialect):
    """A trailing assistant message is history, never continued."""

    headers: ClassVar = {"Server": "cloudflare", "openai-version": "2020-10-01"}
    stream_type: ClassVar = "text/event-stream; charset=utf-8"

    def check(self, kind: Kind, body: Body) -> None:
        """Unknown models, and options of streams outside of them, are refused."""
        super().check(kind, body)
        name = body.get("model")
        if not name:
            raise Refusal(400, "you must provide a model parameter", param="model")
        if name != self.options.model:
            text = f"The model `{name}` does not exist or you do not have access to it."
            raise Refusal(404, text, type="invalid_request_error", code="model_not_found")
        if body.get("stream_options") and not body.get("stream"):
            text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            raise Refusal(400, text, param="stream_options")

    def too_long(self, prompt_tokens: int, max_tokens: int | None) -> Refusal:
        """With the code that SDKs look for."""
        limit = self.options.context_tokens
        if prompt_tokens >= limit:
            text = (
                f"This model's maximum context length is {limit} tokens. However, your messages resulted in "
                f"{prompt_tokens} tokens. Please reduce the length of the messages."
            )
        else:
            asked = max_tokens or 0
            text = (
                f"This model's maximum context length is {limit} tokens. However, you requested "
                f"{prompt_tokens + asked} tokens ({prompt_tokens} in the messages, {asked} in the completion). "
                "Please reduce the length of the messages or completion."
            )
        return Refusal(400, text, code="context_length_exceeded", param="messages")

    def failed(self, status: int) -> Any:
        """429 with its own code."""
        if status == 429:  # noqa: PLR2004 - Too Many Requests
            return self.error(
                Refusal(429, "Rate limit reached for requests", type="requests", code="rate_limit_exceeded")
            )
        return self.error(Refusal(status, "The server had an error processing your request.", type="server_error"))

    def head(self, reply: Reply, name: str) -> dict[str, Any]:
        """With tier and fingerprint."""
        return super().head(reply, name) | {"service_tier": "default", "system_fingerprint": "fp_simulated"}

    def usage(self, reply: Reply, generated: int) -> dict[str, Any]:
        """With the details."""
        details = {"cached_tokens": reply.cached_tokens, "audio_tokens": 0}
        thought = {"reasoning_tokens": min(generated, len(reply.plan.thought)), "audio_tokens": 0}
        return super().usage(reply, generated) | {
            "prompt_tokens_details": details,
            "completion_tokens_details": thought,
        }

    def usage_along(self, reply: Reply, generated: int) -> Any:  # noqa: ARG002 - a hook
        """Null when it will come."""
        return None if reply.ask.include_usage else ABSENT

    def pages(self) -> Pages:
        """The models, and nothing else."""
        return {"/v1/models": lambda _: json_page(self.models())}

    def models(self) -> dict[str, Any]:
        """Bare."""
        options = self.options
        card = {"id": options.model, "object": "model", "created": options.created, "owned_by": "system"}
        return {"object": "list", "data": [card]}
