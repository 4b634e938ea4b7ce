"""The whole answer to a request, before the first token of it takes any time. Pure.

Decides the tokens, the stop strings and the reason for which the answer ends. Refuses to know how it is dressed
(dialects) and how long it takes (timing).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from citadel_edge.simulator.asks import Ask, Kind
from citadel_edge.simulator.text import Voice, tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be generated.

    Attributes:
        thought: tokens of the reasoning, first.
        spoken: tokens of the content, or of the tool call's arguments. A token that a stop string took away is "":
            it was generated and is counted, and nothing is sent for it.
        tool: the tool that is called.
        finish: OpenAI's finish_reason.
    """

    thought: tuple[str, ...]
    spoken: tuple[str, ...]
    tool: str | None
    finish: str

    def __len__(self) -> int:
        return len(self.thought) + len(self.spoken)

    @property
    def text(self) -> str:
        """The content."""
        return "".join(self.spoken)

    def chunks(self, size: int, *, cut: int = -1) -> Iterator[tuple[int, int, str]]:
        """The tokens, at most `size` together: number of the first from 1, of the last, and their text.

        Thought and content never share a chunk, and none goes past the token `cut`.
        """
        every = (*self.thought, *self.spoken)
        start = 0
        while start < len(every):
            ends = (start + size, *(edge for edge in (len(self.thought), cut) if edge > start))
            end = min(*ends, len(every))
            yield start + 1, end, "".join(every[start:end])
            start = end


def make_plan(ask: Ask, voice: Voice, *, limit: int, reasoning_tokens: int = 0) -> Plan:
    """The answer to `ask` within `limit` tokens."""
    if limit <= 0:
        return Plan(thought=(), spoken=(), tool=None, finish="length")
    thought: list[str] = []
    if reasoning_tokens and ask.kind is Kind.CHAT and not ask.said:
        thought = voice.answer(ask.prompt + "<|thought|>", limit=min(limit, reasoning_tokens), endless=True)
    room = limit - len(thought)
    if ask.tool is not None:
        name, schema = ask.tool
        return _cut(thought, tokens(_arguments(voice, ask, schema)), room, tool=name, end="tool_calls")
    spoken = voice.answer(ask.prompt, ask.said, limit=room + 1, endless=ask.endless)
    plan = _cut(thought, spoken, room, tool=None, end="stop")
    return _stopped(plan, ask.stop)


def _cut(thought: list[str], spoken: list[str], room: int, *, tool: str | None, end: str) -> Plan:
    finish = end if len(spoken) <= room else "length"
    return Plan(thought=tuple(thought), spoken=tuple(spoken[:room]), tool=tool, finish=finish)


def _stopped(plan: Plan, stops: tuple[str, ...]) -> Plan:
    """End before the first stop string; the token that completes it was still generated."""
    text = plan.text
    hits = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    if not hits:
        return plan
    end, start = min(hits)
    kept: list[str] = []
    at = 0
    for token in plan.spoken:
        if at >= end:
            break
        kept.append(token[: max(0, start - at)])
        at += len(token)
    return Plan(thought=plan.thought, spoken=tuple(kept), tool=None, finish="stop")


def _arguments(voice: Voice, ask: Ask, schema: Mapping[str, Any]) -> str:
    """JSON that fits the top level of the tool's schema."""
    properties = schema.get("properties") or {}
    words = voice.answer(ask.text + "<|call|>", limit=max(1, len(properties)), endless=True)
    made = zip(properties.items(), words, strict=False)
    values = {name: _value(field, word.strip()) for (name, field), word in made}
    return msgspec.json.encode(values).decode()


def _value(field: Any, word: str) -> Any:
    schema = field if isinstance(field, Mapping) else {}
    if schema.get("enum"):
        return schema["enum"][len(word) % len(schema["enum"])]
    samples = {"integer": len(word), "number": len(word) / 2, "boolean": True, "array": [], "object": {}, "null": None}
    return samples.get(str(schema.get("type")), word)
