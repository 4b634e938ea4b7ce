"""What a request asks for, read from an OpenAI body. Pure.

Decides which text is the prompt and which is a started answer, and refuses bodies that no engine would take. The
rules in which engines differ are handed in by the dialects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

Body = Mapping[str, Any]


class Kind(StrEnum):
    """The inference routes."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDINGS = "embeddings"


class Refusal(Exception):
    """The engine says no.

    Attributes:
        status: HTTP status.
        message: the engine's own wording.
        type: the error's type in the engine's own words; None for its usual one of the status.
        code: OpenAI's error code, for the dialects that send one.
        param: the field at fault, for the dialects that send it.
        extra: further fields of the error object.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,  # noqa: A002 - the wire's name
        code: str | None = None,
        param: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.extra = dict(extra or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request for text.

    Attributes:
        kind: chat or completion.
        model: as the client wrote it.
        stream: as SSE.
        prompt: the conversation rendered, empty for a raw text.
        said: the started assistant message, or the whole raw text.
        repeats_said: a whole answer begins with `said` again.
        max_tokens: None for the engine's default.
        stop: stop strings.
        include_usage: the client asked for usage in the stream.
        continuous_usage: and for it in every chunk.
        endless: never stop by itself.
        tool: name and JSON schema of the tool that must be called.
    """

    kind: Kind
    model: str
    stream: bool
    prompt: str
    said: str
    repeats_said: bool
    max_tokens: int | None
    stop: tuple[str, ...]
    include_usage: bool
    continuous_usage: bool
    endless: bool
    tool: tuple[str, Mapping[str, Any]] | None

    @property
    def text(self) -> str:
        """Everything the engine reads."""
        return self.prompt + self.said


def decode_body(raw: bytes) -> dict[str, Any]:
    """The body as an object.

    Raises:
        Refusal: 400, it is none.
    """
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Refusal(400, f"JSON decode error: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, "Input should be a valid dictionary")
    return body


def messages_of(body: Body) -> list[dict[str, Any]]:
    """The conversation.

    Raises:
        Refusal: 400, there is none or it is malformed.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "'messages' is required and must be a list", param="messages")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refusal(400, "every message is an object with a role", param="messages")
        content_of(message)
    return messages


def content_of(message: Body) -> str:
    """A message's text; parts other than text count by their JSON.

    Raises:
        Refusal: 400, content is neither text nor parts.
    """
    content = message.get("content")
    if content is None:
        return "".join(msgspec.json.encode(call).decode() for call in message.get("tool_calls") or ())
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(_part_text(part) for part in content)
    raise Refusal(400, "the content of a message is a text or a list of parts", param="messages")


def render(messages: Sequence[Body], tools: Sequence[Any] = ()) -> str:
    """The conversation as the model reads it, up to the point where an assistant message begins."""
    offered = f"<|tools|>\n{msgspec.json.encode(tools).decode()}\n" if tools else ""
    turns = (f"<|{message['role']}|>\n{content_of(message)}\n" for message in messages)
    return offered + "".join(turns) + "<|assistant|>\n"


def raw_prompt(body: Body) -> str:
    """The text of a completion; token ids are written as such.

    Raises:
        Refusal: 400, there is none, or several.
    """
    texts = texts_of(body.get("prompt"), field="prompt")
    if len(texts) != 1:
        raise Refusal(400, "one prompt a request, please", param="prompt")
    return texts[0]


def texts_of(value: Any, *, field: str) -> list[str]:
    """The texts of a prompt or of an embeddings input: a text, texts, token ids, or lists of token ids.

    Raises:
        Refusal: 400, it is none of them.
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return list(value)
        rows = [value] if all(isinstance(item, int) for item in value) else value
        if all(isinstance(row, list) and all(isinstance(item, int) for item in row) for row in rows):
            return [" ".join(f"<{item}>" for item in row) for row in rows]
    raise Refusal(400, f"'{field}' is a text, a list of texts or token ids", param=field)


def whole_number(body: Body, *names: str) -> int | None:
    """The first of these fields that is given and not null or negative.

    Raises:
        Refusal: 400, it is no whole number.
    """
    for name in names:
        value = body.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int):
                raise Refusal(400, f"'{name}' must be a whole number", param=name)
            return value if value >= 0 else None
    return None


def stops_of(body: Body) -> tuple[str, ...]:
    """The stop strings."""
    stop = body.get("stop")
    found = [stop] if isinstance(stop, str) else stop or []
    return tuple(text for text in found if isinstance(text, str) and text)


def forced_tool(body: Body) -> tuple[str, Mapping[str, Any]] | None:
    """Name and parameters of the tool that the request insists on, if it does."""
    choice = body.get("tool_choice")
    functions = [tool["function"] for tool in body.get("tools") or () if isinstance(tool, dict) and "function" in tool]
    if isinstance(choice, dict):
        wanted = choice.get("function", {}).get("name")
        functions = [function for function in functions if function.get("name") == wanted]
    elif choice != "required":
        return None
    if not functions:
        raise Refusal(400, "tool_choice names a tool that is not among the tools", param="tool_choice")
    return str(functions[0].get("name")), functions[0].get("parameters") or {}


def _part_text(part: Body) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else msgspec.json.encode(part).decode()
