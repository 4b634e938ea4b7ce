"""The messages of graphql-transport-ws, both ways: JSON objects in text frames, told apart by their `type`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from citadel_edge.graph.wanted import Wanted
from citadel_edge.wire.json_text import flaw

PROTOCOL: Final = "graphql-transport-ws"
Id = Annotated[str, Meta(min_length=1)]
Payload = dict[str, Any] | None


class BadMessage(ValueError):
    """A frame that holds no message of a client."""


class Init(Struct, frozen=True, tag_field="type", tag="connection_init"):
    """The first; its payload says who the client is."""

    payload: Payload = None


class Ping(Struct, frozen=True, tag_field="type", tag="ping"):
    """Answered by a `pong` with the same payload."""

    payload: Payload = None


class Pong(Struct, frozen=True, tag_field="type", tag="pong", omit_defaults=True):
    """The answer to a `ping`, or a sign of life."""

    payload: Payload | UnsetType = UNSET


class Subscribe(Struct, frozen=True, tag_field="type", tag="subscribe"):
    """Run an operation of any kind, under the client's own name of it."""

    id: Id
    payload: Wanted


class Complete(Struct, frozen=True, tag_field="type", tag="complete"):
    """An operation is over; from a client: it is no longer wanted."""

    id: Id


class Ack(Struct, frozen=True, tag_field="type", tag="connection_ack"):
    """The client is let in."""


class Next(Struct, frozen=True, tag_field="type", tag="next"):
    """One word of an operation's answer."""

    id: str
    payload: Mapping[str, Any]


class Error(Struct, frozen=True, tag_field="type", tag="error"):
    """An operation is refused, or failed before it had data. Nothing comes behind it."""

    id: str
    payload: Sequence[Mapping[str, Any]]


Asked = Init | Ping | Pong | Subscribe | Complete
Said = Ack | Pong | Next | Error | Complete
_ASKED: Final[msgspec.json.Decoder[Asked]] = msgspec.json.Decoder(Asked)
_ENCODER: Final = msgspec.json.Encoder()


def read(text: str) -> Asked:
    """The message in a text frame. Raises BadMessage."""
    try:
        return _ASKED.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise BadMessage(f"Invalid message: {flaw(text.encode(errors='replace'), error)}") from None


def encode(message: Said) -> bytes:
    """Its JSON."""
    return _ENCODER.encode(message)
