"""Upstream bytes in; client bytes and facts out. Lean: it runs for every token.

Decides what of a stream reaches the client, and whether the stream came to its proper end. Whole events pass, as one
piece of bytes for everything that arrived together; comments, ids and half events do not. The chunks that only open a
message (its role, nothing said) wait for the next event, so that an engine that dies there can still be replaced. The
engine's `[DONE]` is kept back, because the terminal is the caller's to send, after the row is written. Counts that
were asked for on our own account are taken out again. What was said is written down when told to, for whoever may have
to go on with it. Refuses to know sockets, time and what is done about a failure.
"""

from typing import Any, Final

from citadel_edge.completions.seam import LONGEST_END
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.engines.dialect import Dialect, UsageAlong
from citadel_edge.wire.openai import Choice, Chunk, Delta, Usage, counts, decode_answer, decode_chunk, without_field
from citadel_edge.wire.sse import Decoder, SseError

MOST_SAID: Final = 2**18
LAST_PARTS: Final = LONGEST_END + 1
"""So many of a text's parts are kept apart: a cut moves back over no more. All before are one."""
_DONE: Final = b"[DONE]"
_STATUSES: Final = range(400, 600)
_INTERNAL: Final = 500


class Relay:
    """One stream from one upstream.

    Args:
        strip_usage: the usage chunk at the end is not for the client.
        dialect: the engine's; needed by whoever goes on with the answer.
        along: how usage that rides on chunks with choices is taken out; NEVER leaves it in.
        recording: write down what is said.

    Attributes:
        content_chunks: chunks that bore text, reasoning or tool calls.
        done: the engine's own terminal came.
        failure: why the stream is of no use from here on; what `feed` returned before it is good.
        said: the text of choice 0 that passed, the last chunks apart; None when it is not written down.
        unfit: why what was said is not the whole of it, in words; None while it is.
        first: the first chunk that passed.
        usage_passed: the client has got the usage chunk.
    """

    __slots__ = (
        "_along",
        "_closed",
        "_counted_at",
        "_decoder",
        "_opening",
        "_room",
        "_seen",
        "_strip_usage",
        "_timed",
        "_timed_at",
        "_usage",
        "content_chunks",
        "dialect",
        "done",
        "failure",
        "finish_reason",
        "first",
        "said",
        "unfit",
        "usage_chunk",
        "usage_passed",
    )

    def __init__(
        self,
        *,
        strip_usage: bool,
        dialect: Dialect | None = None,
        along: UsageAlong = UsageAlong.NEVER,
        recording: bool = False,
    ) -> None:
        self._decoder = Decoder()
        self._strip_usage = strip_usage
        self._along = along
        self._opening: list[bytes] | None = []  # events that only open a message; None once something else came
        self._seen: set[int] = set()
        self._closed: set[int] = set()
        self._counted_at = 0  # content chunks when usage was told last
        self._room = MOST_SAID
        self.dialect = dialect
        self.content_chunks = 0
        self._usage: Usage | None = None
        self._timed: Chunk | None = None  # the last that bore timings, to be read when somebody asks
        self._timed_at = 0
        self.usage_chunk: bytes | None = None
        self.usage_passed = False
        self.done = False
        self.failure: UpstreamError | None = None
        self.finish_reason: str | None = None
        self.said: list[str] | None = [] if recording else None
        self.unfit: str | None = None
        self.first: bytes | None = None

    @property
    def over(self) -> bool:
        """No further bytes are wanted."""
        return self.done or self.failure is not None

    @property
    def finished(self) -> bool:
        """Every choice has its `finish_reason`: the text is whole, whatever happens to the connection."""
        return bool(self._closed) and self._closed == self._seen

    @property
    def generated(self) -> int:
        """Tokens of the answer so far: what the engine counted, and a token for each chunk since."""
        usage = self.usage
        counted = (usage.completion_tokens or 0) if usage else 0
        return counted + self.content_chunks - self._counted_at

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt, if the engine has told them."""
        usage = self.usage
        return (usage.prompt_tokens or None) if usage else None

    @property
    def usage(self) -> Usage | None:
        """The last usage the engine told, None when it told none that counts."""
        timed = self._timed.timed if self._timed else None
        if timed is not None and counts(timed):
            self._usage, self._counted_at = timed, self._timed_at
        self._timed = None
        return self._usage

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
                self._close(passed)
                self.done = self.failure is None
                break
            try:
                self._take(event.data, passed)
            except ValueError as error:
                self.failure = UpstreamError(UpstreamFault.MALFORMED, f"an event of its stream is broken: {error}")
            if self.failure is not None or self.done:
                break
        if self._opening is not None:
            passed = self._opened(passed, self._opening)
        return framed(passed) if passed else b""

    def _opened(self, passed: list[bytes], opening: list[bytes]) -> list[bytes]:
        """Hold `passed` back while nothing else came; all that was held once it did."""
        opening += passed
        if not self.done and len(opening) <= len(self._seen) and not self._closed and not self.content_chunks:
            return []
        self._opening = None
        return opening

    def _take(self, data: bytes, passed: list[bytes]) -> None:
        """One event; what of it passes is added to `passed`."""
        if not data:
            return
        chunk = decode_chunk(data)
        if chunk.error is not None:
            self.failure = reported(chunk.error)
            return
        choices = chunk.choices or ()
        for choice in choices:
            self._hear(choice)
        if chunk.usage is not None:
            self._count(chunk, data)
            if choices:
                data = uncounted(data, chunk, self._along)
            elif self._strip_usage:
                return
            else:
                self.usage_passed = True
        elif self._along is UsageAlong.TIMINGS and chunk.has_timings:
            self._timed, self._timed_at = chunk, self.content_chunks
            data = uncounted(data, chunk, self._along)
        if self.first is None:
            self.first = data
        passed.append(data)

    def _count(self, chunk: Chunk, data: bytes) -> None:
        if chunk.usage is not None and counts(chunk.usage):
            self._usage = chunk.usage
            self._timed = None
            self.usage_chunk = data
            self._counted_at = self.content_chunks

    def _hear(self, choice: Choice) -> None:
        index = choice.index or 0
        if index not in self._seen:
            self._seen.add(index)
        if choice.finish_reason is not None:
            self._closed.add(index)
            if index == 0 and isinstance(choice.finish_reason, str):
                self.finish_reason = choice.finish_reason
        delta = choice.delta
        text = choice.text if delta is None else delta.content
        if text or (delta is not None and speaks_otherwise(delta)):
            self.content_chunks += 1
            if self.said is not None:
                self._write_down(index, text, delta)

    def _write_down(self, index: int, text: Any, delta: Delta | None) -> None:
        unfit = odd(index, text, delta)
        if unfit is None:
            self._room -= len(text)
            if self._room >= 0 and self.said is not None:
                self.said.append(text)
                if len(self.said) >= 2 * LAST_PARTS:
                    self.said[:-LAST_PARTS] = ["".join(self.said[:-LAST_PARTS])]
                return
            unfit = f"its text is longer than {MOST_SAID} characters"
        self.unfit = unfit
        self.said = None

    def _close(self, passed: list[bytes]) -> None:
        """The engine's terminal came; whatever is still held back is added to `passed`."""

    def end(self) -> None:
        """The upstream sent its last byte.

        Raises:
            UpstreamError: before the answer's end. An engine that gives every choice its `finish_reason` and then
                just stops has ended properly.
        """
        if self.failure is not None:
            raise self.failure
        if not self.done and (self._decoder.pending or not self.finished):
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


def reported(error: object) -> UpstreamError:
    """An error that an engine sent under the status 200, as if it had sent the status that it names."""
    named = [error.get(key) for key in ("code", "status", "status_code")] if isinstance(error, dict) else []
    status = next((code for code in named if isinstance(code, int) and code in _STATUSES), _INTERNAL)
    message = error.get("message") if isinstance(error, dict) else error
    text = str(message)[:1000] if message else "without a reason"
    return UpstreamError(
        UpstreamFault.STATUS, "it reported an error inside its answer", status=status, body=text.encode()
    )


def speaks_otherwise(delta: Delta) -> bool:
    """Whether it bears something beside content."""
    bears = delta.reasoning or delta.reasoning_content or delta.tool_calls or delta.refusal
    return bool(bears) or delta.function_call is not None


def odd(index: int, text: Any, delta: Delta | None) -> str | None:
    """Why a chunk's text is not all that it says, in words."""
    if index:
        return "it has several choices"
    if delta is not None and speaks_otherwise(delta):
        if delta.thought:
            return "it bears reasoning"
        return "it is a refusal" if delta.refusal else "it calls tools"
    return None if isinstance(text, str) else "its content is no text"


def uncounted(data: bytes, chunk: Chunk, along: UsageAlong) -> bytes:
    """A chunk with choices as the engine writes it when no counts were asked for; the last one may bear some anyway."""
    if along is UsageAlong.NEVER:
        return data
    if along is not UsageAlong.TIMINGS:
        return data if chunk.usage is None else without_field(data, "usage", null=along is UsageAlong.NULL)
    ending = any(choice.finish_reason is not None for choice in chunk.choices or ())
    return without_field(data, "timings") if chunk.has_timings and not ending else data


def framed(payloads: list[bytes]) -> bytes:
    """Events of one data line each."""
    events = b"data: " + b"\n\ndata: ".join(payloads) + b"\n\n"
    if events.count(b"\n") == 2 * len(payloads):
        return events
    # A payload of several data lines: JSON has no line ends inside its strings, so blanks say the same.
    return b"data: " + b"\n\ndata: ".join(payload.replace(b"\n", b" ") for payload in payloads) + b"\n\n"
