"""Decides in which shapes a client takes an answer, by its `Accept`. Pure.

GraphQL over HTTP has two types for a whole answer. `application/json` is what clients get that name none, or take
anything; a client that names both as dearly gets `application/graphql-response+json`. Answers in parts are
`multipart/mixed` in the format of graphql-js 17: an older one, asked for by `deferSpec`, is not spoken, and such a
client gets the answer whole.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

MOST_RANGES: Final = 50
PARTS_SPEC: Final = "v0.2"
REMEMBERED: Final = 256
_EXACT, _FAMILY, _ANY = 3, 2, 1


class Whole(StrEnum):
    """The types of a whole answer."""

    RESPONSE = "application/graphql-response+json"
    JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a client takes: a whole answer as this type or not at all, an answer in parts, a stream of events."""

    whole: Whole | None
    parts: bool = False
    events: bool = False

    @property
    def only_events(self) -> bool:
        """Whether it takes nothing whole but a stream of events. Parts it may take besides."""
        return self.events and self.whole is None


@dataclass(frozen=True, slots=True)
class _Range:
    type: str
    quality: float
    parameters: Mapping[str, str]

    def closeness(self, name: str) -> int:
        """How exactly it names a type; 0: not at all."""
        if self.type == name:
            return _EXACT
        return {name.partition("/")[0] + "/*": _FAMILY, "*/*": _ANY}.get(self.type, 0)


@lru_cache(maxsize=REMEMBERED)
def read_accept(header: str | None) -> Accepts:
    """The shapes that a client takes. Without the header it takes anything.

    Clients say the same again and again: what was read is remembered.
    """
    if header is None or not header.strip():
        return Accepts(Whole.JSON)
    ranges = list(_ranges(header))
    return Accepts(
        whole=_whole(ranges),
        parts=any(_is_parts(each) for each in ranges),
        events=any(each.type == "text/event-stream" and each.quality > 0 for each in ranges),
    )


def _whole(ranges: list[_Range]) -> Whole | None:
    """The dearest; of two as dear the newer type if it is named, else the older."""
    qualities = {each: _quality(ranges, each) for each in Whole}
    named = any(each.type == Whole.RESPONSE for each in ranges)
    first, second = (Whole.RESPONSE, Whole.JSON) if named else (Whole.JSON, Whole.RESPONSE)
    best = second if qualities[second] > qualities[first] else first
    return best if qualities[best] > 0 else None


def _quality(ranges: list[_Range], name: str) -> float:
    """Of the range that names it most exactly (RFC 9110, 12.5.1)."""
    return max(((each.closeness(name), each.quality) for each in ranges if each.closeness(name)), default=(0, 0.0))[1]


def _is_parts(one: _Range) -> bool:
    if one.type != "multipart/mixed" or one.quality <= 0:
        return False
    others = {"deferspec", "subscriptionspec"}
    return one.parameters.get("incrementalspec", PARTS_SPEC) == PARTS_SPEC and not others & one.parameters.keys()


def _ranges(header: str) -> Iterator[_Range]:
    for text in header.split(",")[:MOST_RANGES]:
        name, *rest = (piece.strip() for piece in text.split(";"))
        pairs = (piece.partition("=") for piece in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        yield _Range(name.lower(), _number(parameters.get("q", "1")), parameters)


def _number(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
