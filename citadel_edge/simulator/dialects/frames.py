"""The frames of one streamed answer, cheap for each token. Pure.

A frame is encoded once around a mark and cut there; a token costs one JSON string between two known halves.
"""

from collections.abc import Callable

import msgspec

from citadel_edge.simulator.asks import Kind
from citadel_edge.simulator.dialects.base import MARK, MARK_JSON, Dialect, Reply


class Frames:
    """What is sent for one answer, in order: `opening`, `token` for each token, `closing`."""

    def __init__(self, dialect: Dialect, reply: Reply) -> None:
        self._dialect = dialect
        self._reply = reply
        self._thoughts = len(reply.plan.thought)
        self._last = len(reply.plan) if dialect.rides(reply) else -1
        self._living = dialect.usage_along(reply, 0) != dialect.usage_along(reply, 1)
        self._thinking = self._halves(self._thought)
        self._speaking = self._halves(self._speech)

    def opening(self) -> bytes:
        """Role, and name of the tool that is called."""
        dialect, reply = self._dialect, self._reply
        if reply.ask.kind is not Kind.CHAT:
            return b""
        along = dialect.usage_along(reply, 0)
        first = dialect.first_delta()
        frames = b"" if first is None else dialect.chunk(reply, [dialect.choice(reply, first)], along)
        if reply.plan.tool is not None:
            call = {"index": 0, **dialect.call(reply, reply.plan.tool, "")}
            frames += dialect.chunk(
                reply, [dialect.choice(reply, dialect.delta("tool_calls", "") | {"tool_calls": [call]})], along
            )
        return frames

    def token(self, text: str, number: int) -> bytes:
        """The frame of the token `number`, from 1."""
        thinks = number <= self._thoughts
        if thinks and self._dialect.reasoning_field is None:
            return b""  # thought and counted, but kept to itself
        make = self._thought if thinks else self._speech
        if self._living or number == self._last:
            return self._frame(make, text, number)
        head, tail = self._thinking if thinks else self._speaking
        return head + msgspec.json.encode(text) + tail

    def closing(self) -> bytes:
        """What comes after the last token."""
        return self._dialect.closing(self._reply)

    def _thought(self, text: str) -> object:
        return self._dialect.delta(self._dialect.reasoning_field or "content", text)

    def _speech(self, text: str) -> object:
        if self._reply.ask.kind is not Kind.CHAT:
            return text
        if self._reply.plan.tool is not None:
            return self._dialect.call_delta(text)
        return self._dialect.delta("content", text)

    def _frame(self, make: Callable[[str], object], text: str, number: int) -> bytes:
        finish = self._reply.plan.finish if number == self._last else None
        choice = self._dialect.choice(self._reply, make(text), finish)
        return self._dialect.chunk(self._reply, [choice], self._dialect.usage_along(self._reply, number))

    def _halves(self, make: Callable[[str], object]) -> tuple[bytes, bytes]:
        head, _, tail = self._frame(make, MARK, 0).partition(MARK_JSON)
        return head, tail
