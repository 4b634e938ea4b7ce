"""Upstream bytes in; client bytes and facts out. Lean: it runs for every token.

Decides what of a stream reaches the client, and whether the stream came to its proper end. Whole events pass, as one
piece of bytes for everything that arrived together; comments, ids and half events do not. The chunks that only open a
message (its role, nothing said) wait for the next event, so that an engine that dies there can still be replaced. The
engine's `[DONE]` is kept back, because the terminal is the caller's to send, after the row is written. Refuses to know
sockets, time and what is done about a failure.
"""

from typing import Final

from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.wire.openai import Choice, Delta, Usage, decode_answer, decode_chunk
from citadel_edge.wire.sse import Decoder, SseError

_DONE: Final = b"[DONE]"
_STATUSES: Final = range(400, 600)
_INTERNAL: Final = 500


class Relay:
    """One stream from one upstream.

    Attributes:
        content_chunks: chunks that bore text, reasoning or tool calls: an answer's tokens, as far as one can count.
        usage: the last usage the engine told, None when it told none that counts.
        done: the engine's own terminal came.
        failure: why the stream is of no use from here on; what `feed` returned before it is good.
    """

    __slots__ = (
        "_closed",
        "_decoder",
        "_opening",
        "_seen",
        "_strip_usage",
        "content_chunks",
        "done",
        "failure",
        "usage",
    )

    def __init__(self, *, strip_usage: bool) -> None:
        self._decoder = Decoder()
        self._strip_usage = strip_usage
        self._opening: list[bytes] | None = []  # events that only open a message; None once something else came
        self._seen: set[int] = set()
        self._closed: set[int] = set()
        self.content_chunks = 0
        self.usage: Usage | None = None
        self.done = False
        self.failure: UpstreamError | None = None

    @property
    def over(self) -> bool:
        """No further bytes are wanted."""
        return self.done or self.failure is not None

    def feed(self, data: bytes) -> bytes:
        """What the client gets for `data`: whole events, or nothing."""
        try:
            events = self._decoder.feed(data)
        except SseError as error:
            self.failure = UpstreamError(UpstreamFault.MALFORMED, str(error))
            return b""
        passed: list[bytes] = []
        for event in events:
            if event.data == _DONE:
                self.done = True
                break
            try:
                if self._passes(event.data):
                    passed.append(event.data)
            except ValueError as error:
                self.failure = UpstreamError(UpstreamFault.MALFORMED, f"an event of its stream is broken: {error}")
            if self.failure is not None:
                break
        if self._opening is not None:
            passed = self._opened(passed, self._opening)
        return _framed(passed) if passed else b""

    def _opened(self, passed: list[bytes], opening: list[bytes]) -> list[bytes]:
        """Hold `passed` back while nothing else came; all that was held once it did."""
        opening += passed
        if not self.done and len(opening) <= len(self._seen) and not self._closed and not self.content_chunks:
            return []
        self._opening = None
        return opening

    def _passes(self, data: bytes) -> bool:
        if not data:
            return False
        chunk = decode_chunk(data)
        if chunk.error is not None:
            self.failure = reported(chunk.error)
            return False
        choices = chunk.choices or ()
        for choice in choices:
            self._take(choice)
        if chunk.usage is None:
            return True
        if counts(chunk.usage):
            self.usage = chunk.usage
        return bool(choices) or not self._strip_usage

    def _take(self, choice: Choice) -> None:
        index = choice.index or 0
        if index not in self._seen:
            self._seen.add(index)
        if choice.finish_reason is not None:
            self._closed.add(index)
        delta = choice.delta
        if choice.text if delta is None else _speaks(delta):
            self.content_chunks += 1

    def end(self) -> None:
        """The upstream sent its last byte.

        Raises:
            UpstreamError: before the answer's end. An engine that gives every choice its `finish_reason` and then
                just stops has ended properly.
        """
        if self.failure is not None:
            raise self.failure
        finished = bool(self._closed) and self._closed == self._seen
        if not self.done and (self._decoder.pending or not finished):
            raise UpstreamError(UpstreamFault.TRUNCATED, "its stream ended before the answer did")


def read_whole(body: bytes) -> Usage | None:
    """The usage of an answer that came in one piece.

    Raises:
        UpstreamError: MALFORMED when it is no JSON object of an answer, STATUS when it is an error in disguise.
    """
    try:
        answer = decode_answer(body)
    except ValueError as error:
        raise UpstreamError(UpstreamFault.MALFORMED, str(error)) from error
    if answer.error is not None:
        raise reported(answer.error)
    return answer.usage if answer.usage and counts(answer.usage) else None


def counts(usage: Usage) -> bool:
    """Whether a usage says anything: some engines send zeroes until they know."""
    return (usage.prompt_tokens or 0) > 0 or (usage.completion_tokens or 0) > 0


def reported(error: object) -> UpstreamError:
    """An error that an engine sent under the status 200, as if it had sent the status that it names."""
    named = [error.get(key) for key in ("code", "status", "status_code")] if isinstance(error, dict) else []
    status = next((code for code in named if isinstance(code, int) and code in _STATUSES), _INTERNAL)
    message = error.get("message") if isinstance(error, dict) else error
    text = str(message)[:1000] if message else "without a reason"
    return UpstreamError(
        UpstreamFault.STATUS, f"it reported an error inside its answer: {text}", status=status, body=text.encode()
    )


def _speaks(delta: Delta) -> bool:
    bears = delta.content or delta.reasoning or delta.reasoning_content or delta.tool_calls or delta.refusal
    return bool(bears) or delta.function_call is not None


def _framed(payloads: list[bytes]) -> bytes:
    framed = b"data: " + b"\n\ndata: ".join(payloads) + b"\n\n"
    if framed.count(b"\n") == 2 * len(payloads):
        return framed
    # A payload of several data lines: JSON has no line ends inside its strings, so blanks say the same.
    return b"data: " + b"\n\ndata: ".join(payload.replace(b"\n", b" ") for payload in payloads) + b"\n\n"
