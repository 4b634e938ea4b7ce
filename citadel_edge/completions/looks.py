"""Short looks at a request: what it needs of a model by its fields, and a bounded part of its text.

Decides which fields ask for what, and which pieces of a conversation say the most about it: how it begins, what was
said last, and the user's last message. However large the prompt, a bounded amount of it is read. Refuses to know what
the words mean (`routing.features`) and which models there are.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from citadel_edge.config.shape import Capability
from citadel_edge.routing.features import Sample

_NULL: Final = Raw(b"null")
_OPENING: Final = 2
_RECENT: Final = 6
_LONG: Final = (1536, 512)
_SHORT: Final = (512, 256)
_MOST_PART_BYTES: Final = 2**21
_LONGEST_ESCAPE: Final = 12
_PICTURE_BYTES: Final = 3200
_QUOTE, _BRACKET, _BACKSLASH = b'"[\\'

_MEDIA: Final = (b'"image_url"', b'"input_image"', b'"video_url"', b'"input_audio"', b'"file"')
_PICTURES: Final = frozenset({"image_url", "input_image", "video_url"})
_INSTRUCTING: Final = frozenset({"system", "developer"})
_TEXTUAL: Final = frozenset({"text", "input_text", ""})
_SHAPES: Final = frozenset({"json_object", "json_schema"})
_GUIDES: Final = (
    *("structured_outputs", "guided_json", "guided_grammar", "guided_regex", "guided_choice"),  # vLLM
    *("grammar", "json_schema", "regex", "ebnf", "format"),  # llama.cpp, SGLang, Ollama
)
_THINKING: Final = ("reasoning_effort", "reasoning", "thinking")
_TELLING: Final = frozenset(("functions", "response_format", *_GUIDES, *_THINKING))
_NO_EFFORT: Final = frozenset({"none", "minimal"})
_NOTHING: Final = (b"null", b"false", b"[]", b"{}", b'""')


class Turn(Struct, frozen=True, gc=False):
    """One message of a conversation, its content as the bytes it came in."""

    role: str
    content: Raw = _NULL


class _Part(Struct):
    type: str = ""
    text: str = ""


class _Media(Struct):
    content: list[_Part] | str | None = None


class _Shape(Struct):
    type: str = ""


class _Effort(Struct):
    effort: str | None = ""
    type: str | None = ""


class Weight(Struct, frozen=True, gc=False):
    """What of a prompt counts as text, in bytes, and how many pictures stand beside it."""

    text_bytes: int
    pictures: int


_PARTS: Final = msgspec.json.Decoder(list[_Part])
_MEDIA_MESSAGES: Final = msgspec.json.Decoder(list[_Media])
_SHAPE: Final = msgspec.json.Decoder(_Shape)
_EFFORT: Final = msgspec.json.Decoder(str | bool | _Effort | None)
_STRING: Final = msgspec.json.Decoder(str)
_ITEMS: Final = msgspec.json.Decoder(list[Raw])


def kept(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns worth a look: the opening ones and the last ones."""
    if len(turns) <= _OPENING + _RECENT:
        return tuple(turns)
    return (*turns[:_OPENING], *turns[-_RECENT:])


def weigh(prompt: Raw, body: bytes) -> Weight:
    """A chat's messages without the data of pictures, sounds and files, which engines do not read as text.

    A picture counts as 3,200 bytes, about 800 tokens: engines make 85 to 1,300 of one, by a size that is not known.
    """
    size = memoryview(prompt).nbytes
    if b'"type"' not in body or not any(mark in body for mark in _MEDIA):
        return Weight(size, 0)
    try:
        messages = _MEDIA_MESSAGES.decode(prompt)
    except msgspec.MsgspecError:
        return Weight(size, 0)  # of a shape that only its engine knows
    parts = [part for message in messages if isinstance(message.content, list) for part in message.content]
    if all(part.type in _TEXTUAL for part in parts):
        return Weight(size, 0)
    texts = [message.content for message in messages if isinstance(message.content, str)]
    text_bytes = sum(len(text.encode()) for text in (*texts, *(part.text for part in parts)))
    pictures = sum(part.type in _PICTURES for part in parts)
    return Weight(max(1, text_bytes + pictures * _PICTURE_BYTES), pictures)


def largest_item(prompt: Raw) -> int:
    """Bytes of the largest of several prompts or inputs, each of which has a context of its own; else of the one."""
    size = memoryview(prompt).nbytes
    if memoryview(prompt)[0] != _BRACKET:
        return size
    items = _ITEMS.decode(prompt)
    if not items or memoryview(items[0])[0] not in (_QUOTE, _BRACKET):
        return size  # one prompt, of token ids
    return max(memoryview(item).nbytes for item in items)


def needs_of(fields: Mapping[str, Raw], *, tools: bool, pictures: int, embeddings: bool) -> frozenset[Capability]:
    """What a model must be able to do, or pass for able to do. A field's presence with a `null` asks for nothing."""
    if embeddings:
        return frozenset((Capability.EMBEDDINGS,))
    if not (tools or pictures) and fields.keys().isdisjoint(_TELLING):
        return frozenset()
    needs = []
    if tools or _given(fields, "functions"):
        needs.append(Capability.TOOLS)
    if _asks_json(fields):
        needs.append(Capability.JSON)
    if pictures:
        needs.append(Capability.VISION)
    if any(_effort(fields[name]) for name in _THINKING if name in fields):
        needs.append(Capability.REASONING)
    return frozenset(needs)


def _asks_json(fields: Mapping[str, Raw]) -> bool:
    shape = fields.get("response_format")
    if shape is not None and _shape(shape) in _SHAPES:
        return True
    return any(_given(fields, name) for name in _GUIDES)


def _shape(raw: Raw) -> str:
    try:
        return _SHAPE.decode(raw).type
    except msgspec.MsgspecError:
        return ""


def _effort(raw: Raw) -> bool:
    """Whether a field in one of the dialects (`"high"`, `true`, `{"effort": …}`, `{"type": "enabled"}`) asks for it."""
    try:
        asked = _EFFORT.decode(raw)
    except msgspec.MsgspecError:
        return False
    if isinstance(asked, _Effort):
        return asked.type != "disabled" and asked.effort not in _NO_EFFORT
    return bool(asked) and asked not in _NO_EFFORT


def _given(fields: Mapping[str, Raw], name: str) -> bool:
    raw = fields.get(name)
    return raw is not None and bytes(memoryview(raw)[:6]) not in _NOTHING


def sample_of(turns: Sequence[Turn]) -> Sample:
    """The words to judge a conversation by.

    `question` is the user's last message; `recent` the two turns before it; `system` how it all begins.
    """
    last = next((index for index in range(len(turns) - 1, -1, -1) if turns[index].role == "user"), len(turns) - 1)
    if last < 0:
        return Sample()
    opening = turns[0] if last > 0 and turns[0].role in _INSTRUCTING else None
    recent = [turn for turn in turns[max(0, last - 2) : last] if turn.role not in _INSTRUCTING]
    return Sample(
        system=excerpt(opening.content, _SHORT) if opening else "",
        recent="\n".join(excerpt(turn.content, _SHORT) for turn in recent),
        question=excerpt(turns[last].content),
    )


def excerpt(content: Raw, size: tuple[int, int] = _LONG) -> str:
    """The text of a message's content (a string, or parts): whole where it is short, else its head and its tail.

    Args:
        content: JSON.
        size: bytes of the head and of the tail.
    """
    view = memoryview(content)
    if view[0] == _QUOTE:
        return _string(view, *size)
    return _parts(content, *size) if view[0] == _BRACKET and view.nbytes <= _MOST_PART_BYTES else ""


def _parts(content: Raw, head: int, tail: int) -> str:
    try:
        parts = _PARTS.decode(content)
    except msgspec.MsgspecError:
        return ""
    text = "\n".join(part.text for part in parts if part.text)
    return text if len(text) <= head + tail else f"{text[:head]}\n{text[-tail:]}"


def _string(view: memoryview, head: int, tail: int) -> str:
    if view.nbytes <= head + tail:
        return _decoded(bytes(view)) or ""
    first, last = bytes(view[1:head]), bytes(view[-tail:-1])
    heads = (first[: len(first) - cut] for cut in range(_LONGEST_ESCAPE))
    escapes = (cut for cut in range(_LONGEST_ESCAPE) if last[cut] == _BACKSLASH)
    tails = (last[cut:] for cut in (*escapes, *range(_LONGEST_ESCAPE)))
    return f"{_first(heads)}\n{_first(tails)}"


def _first(pieces: Iterable[bytes]) -> str:
    """A cut may have gone through an escape or a character: the first of the shorter ones that is whole."""
    for piece in pieces:
        if (text := _decoded(b'"' + piece + b'"')) is not None:
            return text
    return ""


def _decoded(text: bytes) -> str | None:
    try:
        return _STRING.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
