"""A streamed answer put together again from its chunks: text, reasoning, calls of tools, why it stopped.

Decides what of the first choice makes up the answer. Refuses to know whether it is whole.
"""

from collections.abc import Iterable
from typing import Any

from citadel_edge.wire.openai import Choice, first_choices, text_of


class Collected:
    """What one reader has read.

    Attributes:
        finish_reason: why the model stopped, once a chunk said so.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}

    def take(self, payloads: Iterable[bytes]) -> str:
        """Some more chunks; what they add to the text."""
        before = len(self._texts)
        for choice in first_choices(payloads):
            self._take(choice)
        return "".join(self._texts[before:])

    @property
    def text(self) -> str | None:
        """The whole text; None where there was none."""
        return "".join(self._texts) if self._texts else None

    @property
    def reasoning(self) -> str | None:
        """What the model thought; None where it told nothing."""
        return "".join(self._thoughts) if self._thoughts else None

    @property
    def tool_calls(self) -> list[dict[str, Any]] | None:
        """The calls, in order; None where there were none."""
        return [self._calls[index] for index in sorted(self._calls)] or None

    def _take(self, choice: Choice) -> None:
        if text := text_of(choice):
            self._texts.append(text)
        if isinstance(choice.finish_reason, str):
            self.finish_reason = choice.finish_reason
        delta = choice.delta
        if delta is None:
            return
        if isinstance(delta.thought, str):
            self._thoughts.append(delta.thought)
        for part in delta.tool_calls if isinstance(delta.tool_calls, list) else ():
            if isinstance(part, dict):
                self._add_call(part)

    def _add_call(self, part: dict[str, Any]) -> None:
        """Arguments come in pieces, everything else once."""
        index = part.get("index")
        call = self._calls.setdefault(index if isinstance(index, int) else 0, {"function": {"arguments": ""}})
        call.update({name: value for name, value in part.items() if name not in ("index", "function")})
        function = part.get("function")
        if not isinstance(function, dict):
            return
        so_far = call["function"]["arguments"]
        more = function.get("arguments")
        call["function"].update({**function, "arguments": so_far + (more if isinstance(more, str) else "")})
