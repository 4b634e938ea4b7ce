"""What an engine says of itself that seldom changes: how many requests it serves at once, and its models' contexts.

Decides how the lists of models are read. Refuses to fail: what is not there, or is of another shape, is not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

_MOST: Final = 10**9
_MODELS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one page tells. None: nothing.

    Attributes:
        slots: requests served at once.
        contexts: context length in tokens by the engine's model name.
        any_context: the context length of whatever model it is asked for, as it serves but one.
        sleeping: its model is out of memory until the next request.
    """

    slots: int | None = None
    contexts: Mapping[str, int] = field(default_factory=dict)
    any_context: int | None = None
    sleeping: bool | None = None


def loads(page: bytes) -> Any:
    """The page's JSON, None when it is none."""
    try:
        return msgspec.json.decode(page)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def member(value: Any, *path: str) -> Any:
    """A value inside objects, None where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def entries(value: Any) -> list[Any]:
    """A list's members, as many as are sane; none of what is no list."""
    return value[:_MODELS] if isinstance(value, list) else []


def count(value: Any) -> int | None:
    """A sane count of at least one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST else None


def read_models(page: bytes) -> Facts:
    """`/v1/models`, with `max_model_len` where it is told. An adapter without one has its parent's."""
    cards = [card for card in entries(member(loads(page), "data")) if isinstance(member(card, "id"), str)]
    known = {card["id"]: tokens for card in cards if (tokens := count(card.get("max_model_len")))}
    for card in cards:
        parent = card.get("parent")
        if card["id"] not in known and isinstance(parent, str) and parent in known:
            known[card["id"]] = known[parent]
    return Facts(contexts=known)
