"""The stream of a replica that goes on with another one's answer, as a part of that answer. Pure.

Decides what of it reaches the client: nothing until the seam is judged, then its chunks under the answer's own id,
time, model and fingerprint, without a second opening; the usage counts all parts. Slower than `Relay`, and rare.
Refuses to know who chose the replica and how it was asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from citadel_edge.completions.relay import Relay, odd, reported
from citadel_edge.completions.seam import Cut, Ruling, Seam
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.engines.dialect import UsageAlong
from citadel_edge.wire.openai import Choice, Chunk, Usage, counts, decode_chunk

_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_CHOICES: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
_ENCODER: Final = msgspec.json.Encoder()
_NULL: Final = Raw(b"null")
_HEAD: Final = ("id", "object", "created", "model", "system_fingerprint", "service_tier")


@dataclass(slots=True, kw_only=True)
class _Piece:
    """One chunk on its way: its fields, and of its one choice the text and the end."""

    fields: dict[str, Raw]
    choice: dict[str, Raw]
    text: str
    finish: bool

    def bytes(self, text: str) -> bytes:
        """Its JSON with this text instead of its own."""
        choice = self.choice
        if choice.get("delta", _NULL) != _NULL:
            delta = _FIELDS.decode(choice["delta"])
            delta.pop("role", None)
            if self.text:
                delta["content"] = _raw(text)
            choice["delta"] = _raw(delta)
        elif self.text:
            choice["text"] = _raw(text)
        if text != self.text and "logprobs" in choice:
            choice["logprobs"] = _NULL
        self.fields["choices"] = _raw([choice])
        return _ENCODER.encode(self.fields)


class NotContinued(UpstreamError):
    """A replica answered well, but did not go on with what was said. It is not ill; it cannot, or would not."""

    def __init__(self, reason: str) -> None:
        super().__init__(UpstreamFault.MALFORMED, f"it does not continue the answer: {reason}")


class Resumed(Relay):
    """A continuation's stream.

    Args:
        previous: the relay of the part before, over for good.
        cut: what was given to the replica.
        seam: judges the head.
        strip_usage, along: as of `Relay`.
    """

    __slots__ = ("_before", "_cut", "_head", "_held", "_own", "_prompt", "_repeated", "_seam", "details")

    def __init__(self, previous: Relay, *, cut: Cut, seam: Seam, strip_usage: bool, along: UsageAlong) -> None:
        super().__init__(strip_usage=strip_usage, dialect=previous.dialect, along=along, recording=True)
        self._opening = None  # the message is open
        self._seam: Seam | None = seam
        self._cut = cut
        self._held: list[_Piece] = []
        self._head = head_of(previous)
        self._before = previous.generated
        self._prompt = previous.prompt_tokens
        self.details = _details_of(previous)
        self._own = 0  # tokens that this replica told
        self._repeated = 0
        self.first = previous.first
        self.said = list(previous.said or ())
        self._room -= sum(map(len, self.said))
        self._usage = previous.usage

    @property
    def generated(self) -> int:
        """Tokens of all parts. What is still held back, or was said before, does not count."""
        if self._seam is not None:
            return self._before
        own = self._own + self.content_chunks - self._counted_at - self._repeated
        return self._before + max(0, own)

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the first part's prompt: what was said before is no prompt of the client's."""
        return self._prompt

    def _take(self, data: bytes, passed: list[bytes]) -> None:
        if not data:
            return
        chunk = decode_chunk(data)
        if chunk.error is not None:
            self.failure = reported(chunk.error)
            return
        choices = chunk.choices or ()
        for choice in choices:
            self._hear(choice)
        self._count(chunk, data)
        if len(choices) > 1:
            self._fail("it has several choices")
        if self.failure is not None:
            return
        if choices:
            self._take_piece(self._headed(data), choices[0], passed)
        elif self._seam is None and not (self._strip_usage and chunk.usage is not None):
            self._take_rest(self._headed(data), passed, counted=chunk.usage is not None)
        if self._prompt is not None:
            made = self.generated
            self._usage = Usage(self._prompt, made, self._prompt + made)

    def _headed(self, data: bytes) -> dict[str, Raw]:
        """A chunk's fields under the answer's own head."""
        own = _FIELDS.decode(data)
        return {name: value for name, value in own.items() if name not in _HEAD} | self._head

    def _hear(self, choice: Choice) -> None:
        delta = choice.delta
        text = choice.text if delta is None else delta.content
        unfit = odd(choice.index or 0, text or "", delta)
        if unfit is not None:
            self._fail(unfit)
            return
        self._seen.add(0)
        if choice.finish_reason is not None:
            self._closed.add(0)
        if text:
            self.content_chunks += 1

    def _count(self, chunk: Chunk, data: bytes) -> None:
        usage = chunk.usage or (chunk.timed if self._along is UsageAlong.TIMINGS else None)
        if usage is None or not counts(usage):
            return
        self._own = usage.completion_tokens or 0
        self._counted_at = self.content_chunks
        self.usage_chunk = data
        if self._prompt is None and usage.prompt_tokens:
            self._prompt = max(1, usage.prompt_tokens - self._before + self._cut.tokens)

    def _take_piece(self, fields: dict[str, Raw], heard: Choice, passed: list[bytes]) -> None:
        (choice,) = _CHOICES.decode(fields["choices"])
        text = (heard.text if heard.delta is None else heard.delta.content) or ""
        piece = _Piece(fields=fields, choice=choice, text=text, finish=heard.finish_reason is not None)
        if self._seam is None:
            self._pass(piece, text, passed)
            return
        self._held.append(piece)
        self._judge(self._seam, passed, final=piece.finish)

    def _judge(self, seam: Seam, passed: list[bytes], *, final: bool) -> None:
        head = "".join(piece.text for piece in self._held)
        ruling = seam.judge(head, final=final)
        if ruling is None:
            return
        if ruling.restarted is not None:
            self._fail(ruling.restarted)
            return
        self._seam = None
        held, self._held = self._held, []
        self._release(held, ruling, passed)

    def _release(self, held: list[_Piece], ruling: Ruling, passed: list[bytes]) -> None:
        skip, room = ruling.skip, ruling.stop
        for piece in held:
            text = piece.text[skip:]
            skip = max(0, skip - len(piece.text))
            self._repeated += bool(piece.text) and not text
            if room is not None:
                text, room = text[:room], max(0, room - len(text))
                piece.finish, piece.choice["finish_reason"] = False, _NULL
            self._pass(piece, text, passed)
        if room is not None:
            self._stop(passed, chat="delta" in held[-1].choice)

    def _stop(self, passed: list[bytes], *, chat: bool) -> None:
        """A stop string lies across the seam: the replica cannot know that the answer is over."""
        passed.append(finish_chunk(self._head, chat=chat, finish="stop"))
        if not self._strip_usage:
            passed.append(usage_chunk(self._head, prompt=self._prompt or 0, generated=self.generated))
            self.usage_passed = True
        self._closed.add(0)
        self.done = True

    def _pass(self, piece: _Piece, text: str, passed: list[bytes]) -> None:
        """Pass a chunk on, unless it says nothing (any more)."""
        if text:
            self._write_down(0, text, None)
        if text or piece.finish:
            self._put_usage(piece.fields, beside=True, ending=piece.finish)
            passed.append(piece.bytes(text))

    def _take_rest(self, fields: dict[str, Raw], passed: list[bytes], *, counted: bool) -> None:
        """A chunk without choices: usage, or what an engine adds of its own."""
        self.usage_passed |= counted
        self._put_usage(fields, beside=False)
        passed.append(_ENCODER.encode(fields))

    def _put_usage(self, fields: dict[str, Raw], *, beside: bool, ending: bool = True) -> None:
        """Let usage count all parts; where it was asked for on our own account, take it out."""
        if beside and not ending and self._along is UsageAlong.TIMINGS:
            fields.pop("timings", None)
        if fields.get("usage", _NULL) == _NULL:
            return
        if not beside or self._along in (UsageAlong.NEVER, UsageAlong.TIMINGS):
            fields["usage"] = _raw(self._merged(_OBJECT.decode(fields["usage"])))
        elif self._along is UsageAlong.NULL:
            fields["usage"] = _NULL
        else:
            del fields["usage"]

    def _merged(self, own: dict[str, Any]) -> dict[str, Any]:
        prompt, made = self._prompt or 0, self.generated
        usage = {**own, "prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
        details = own.get("prompt_tokens_details")
        if self.details is not None:
            usage["prompt_tokens_details"] = self.details
        elif isinstance(details, dict) and isinstance(cached := details.get("cached_tokens"), int):
            usage["prompt_tokens_details"] = details | {"cached_tokens": min(prompt, cached)}
        return usage

    def _close(self, passed: list[bytes]) -> None:
        if self._seam is not None and self.failure is None:
            self._judge(self._seam, passed, final=True)

    def _fail(self, reason: str) -> None:
        self.failure = NotContinued(reason)


def head_of(relay: Relay) -> dict[str, Raw]:
    """The fields that all chunks of an answer share, as its first chunk bore them."""
    fields = _FIELDS.decode(relay.first or b"{}")
    return {name: fields[name] for name in _HEAD if name in fields}


def finish_chunk(head: Mapping[str, Raw], *, chat: bool, finish: str) -> bytes:
    """A chunk that ends choice 0."""
    said: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
    choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
    return _ENCODER.encode({**head, "choices": [choice]})


def usage_chunk(head: Mapping[str, Raw], *, prompt: int, generated: int) -> bytes:
    """The chunk that tells what an answer took."""
    usage = {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
    return _ENCODER.encode({**head, "choices": [], "usage": usage})


def _details_of(relay: Relay) -> Any:
    """What the first part's engine told of the prompt's tokens."""
    if isinstance(relay, Resumed):
        return relay.details
    if relay.usage_chunk is None:
        return None
    usage = _FIELDS.decode(relay.usage_chunk).get("usage", _NULL)
    return None if usage == _NULL else _OBJECT.decode(usage).get("prompt_tokens_details")


def _raw(value: Any) -> Raw:
    return Raw(_ENCODER.encode(value))
