"""The messages of `citadel.v1`, both ways: JSON objects in text frames, each with a `type` and the id of its operation.

Decides how they look; `schema` publishes them from here. Fields that stand in none of these are not read. An operation
begins with a message of the client's and ends with exactly one `done`, or one `error` that carries an `outcome`; an
`error` without `outcome` refuses a message, and nothing has begun by it. Refuses to know what operations do.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.values import OnDisconnect

PROTOCOL: Final = "citadel.v1"
_SAFE: Final = 2**53 - 1

Id = Annotated[str, Meta(min_length=1, max_length=128)] | Annotated[int, Meta(ge=-_SAFE, le=_SAFE)]
CursorText = Annotated[str, Meta(description="`{epoch}:{seq}`: everything up to here.", max_length=64)]
StreamId = Annotated[str, Meta(max_length=128)]
Body = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
Chunk = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
Outcome = Literal["done", "error", "truncated", "cancelled", "moved"]


class FromClient(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every message of a client has.

    Attributes:
        id: the client's own name of the operation. It is free again when the operation has ended.
    """

    id: Id


class Chat(FromClient, frozen=True, kw_only=True, tag="chat"):
    """Generate an answer. `ack` names its stream, `token`s bring it, `done` or `error` ends it.

    Attributes:
        request: the body of POST /v1/chat/completions; it streams whatever its `stream` says.
        on_disconnect: what becomes of the generation when nobody reads it; `grace` when absent.
        grace_s: how long `grace` waits for a reader; 60 when absent.
        idempotency_key: sent again with the same request, it joins the stream that it began.
        optimize: as the header X-Citadel-Optimize.
        session: as the header X-Citadel-Session.
        timeout_s: as the header X-Citadel-Timeout.
    """

    request: Body
    on_disconnect: OnDisconnect | None = None
    grace_s: Annotated[float, Meta(ge=0, le=3600)] | None = None
    idempotency_key: str | None = None
    optimize: str | None = None
    session: Annotated[str, Meta(max_length=256)] | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None


class Resume(FromClient, frozen=True, kw_only=True, tag="resume"):
    """Read a stream, from its first event on or from behind a cursor: one's own, wherever and however it was begun.

    Attributes:
        after: the `cursor` of the last `token` that came; the id of the last event over SSE is the same.
    """

    stream: StreamId
    after: CursorText | None = None


class Subscribe(FromClient, frozen=True, kw_only=True, tag="subscribe"):
    """Hear live state as `event`s. Needs the role operator.

    Attributes:
        topics: health, breakers, decisions, usage, limits, metrics, listeners; all of them when absent or empty.
        interval_s: how often `metrics` come, 0.2 to 60 seconds; every second when absent. All others come as they are.
        after: the `cursor` of the last `event` that came.
        recent: how many of each topic's last messages come first, for who has no cursor.
    """

    topics: list[str] = []
    interval_s: float | None = None
    after: CursorText | None = None
    recent: Annotated[int, Meta(ge=0, le=256)] = 0


class Cancel(FromClient, frozen=True, kw_only=True, tag="cancel"):
    """End an operation, by its own id. It ends with `done` and the outcome `cancelled`, unless it is over before.

    Attributes:
        stop: of a chat or a resumed stream of one's own, whether the generation is stopped at its engine, for all its
            readers. False only stops reading: what becomes of it then is its `on_disconnect`'s.
    """

    stop: bool = True


class Ping(FromClient, frozen=True, kw_only=True, tag="ping"):
    """Ask for a `pong`."""


class FromServer(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What every message of this side has."""

    id: Id | None


class Ack(FromServer, frozen=True, kw_only=True, tag="ack"):
    """The operation has begun.

    Attributes:
        stream: of a chat or resume, the stream that is read.
        recovered: of one that came with a cursor: `full`, nothing is missing; `none`, reading begins at what is there.
        lost: the first and the last event that are missing, where they are known: of a stream their numbers, of live
            state cursors as `from` and `to`.
        reason: why something is missing.
    """

    stream: StreamId | UnsetType = UNSET
    recovered: Literal["full", "none"] | UnsetType = UNSET
    lost: Any = UNSET
    reason: str | UnsetType = UNSET


class Token(FromServer, frozen=True, kw_only=True, tag="token"):
    """What was generated: all that came since the last `token`, which is more at a time for a client that is slow.

    Attributes:
        cursor: after the last of the chunks.
        text: what the chunks add to the text of the first choice.
        chunks: OpenAI's chunks as they are.
        durable: false: they may not survive the death of the process.
        lost: the numbers of the first and the last event that are missing before these chunks.
    """

    cursor: CursorText
    text: str
    chunks: list[Chunk]
    durable: bool = True
    lost: tuple[int, int] | UnsetType = UNSET


class Event(FromServer, frozen=True, kw_only=True, tag="event"):
    """Live state. The topic `lost` says in `data` how many messages were dropped here because the client was slow."""

    topic: str
    data: dict[str, Any]
    cursor: CursorText | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    at: Annotated[float, Meta(description="Seconds since 1970.")] | UnsetType = UNSET


class Done(FromServer, frozen=True, kw_only=True, tag="done"):
    """The operation is over. The account of what it took stands here for streams alone.

    Attributes:
        outcome: of a stream, its terminal record's; `error` comes as an `error`.
        usage: OpenAI's usage object, if known.
        tokens_saved: not generated because somebody stopped it.
        error: OpenAI's error object, of a truncated answer.
    """

    outcome: Outcome
    stream: StreamId | UnsetType = UNSET
    usage: dict[str, Any] | UnsetType | None = UNSET
    cost_usd: float | UnsetType = UNSET
    attempts: int | UnsetType = UNSET
    tokens_saved: int | UnsetType = UNSET
    error: dict[str, Any] | UnsetType = UNSET


class Error(FromServer, frozen=True, kw_only=True, tag="error"):
    """With `outcome`: the operation failed. Without: the message is refused, and an operation of that id is untouched.

    Attributes:
        id: null when the message had none that could be read.
        code: stable, as in HTTP answers.
        param: the field at fault.
        outcome: `moved`: this side ends the reading and the stream goes on elsewhere, to be resumed at `cursor`.
    """

    code: str
    message: str
    param: str | UnsetType = UNSET
    retry_after_s: float | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    stream: StreamId | UnsetType = UNSET
    cursor: CursorText | UnsetType = UNSET
    usage: dict[str, Any] | UnsetType | None = UNSET
    cost_usd: float | UnsetType = UNSET
    attempts: int | UnsetType = UNSET


class Pong(FromServer, frozen=True, kw_only=True, tag="pong"):
    """The answer to a `ping`."""


Asked = Chat | Resume | Subscribe | Cancel | Ping
Said = Ack | Token | Event | Done | Error | Pong
ASKED: Final = (Chat, Resume, Subscribe, Cancel, Ping)
SAID: Final = (Ack, Token, Event, Done, Error, Pong)


class _Named(Struct):
    """What can be read of a message that is none."""

    id: Id | None = None
    type: str | None = None


_ASKED: Final[msgspec.json.Decoder[Asked]] = msgspec.json.Decoder(Asked)
_NAMED: Final = msgspec.json.Decoder(_Named)
_ENCODER: Final = msgspec.json.Encoder()
_TYPES: Final = tuple(str(each.__struct_config__.tag) for each in ASKED)


def encode(message: Said) -> bytes:
    """Its JSON."""
    return _ENCODER.encode(message)


def read(text: str) -> Asked | Error:
    """The message in a text frame, or the answer to a frame that holds none."""
    try:
        return _ASKED.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        named = _named(text)
        return refusal(named.id, _misread(named, error))


def refusal(identity: Id | None, error: RequestError, outcome: Outcome | UnsetType = UNSET) -> Error:
    """An error as a message."""
    return Error(
        id=identity,
        code=error.code.text,
        message=error.message,
        param=UNSET if error.param is None else error.param,
        retry_after_s=UNSET if error.retry_after_s is None else error.retry_after_s,
        outcome=outcome,
    )


def _named(text: str) -> _Named:
    try:
        return _NAMED.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return _Named()


def _misread(named: _Named, error: Exception) -> RequestError:
    known = ", ".join(_TYPES)
    if named.type is not None and named.type not in _TYPES:
        return RequestError(Code.INVALID_REQUEST, f"unknown type {named.type[:40]!r}; known are {known}", param="type")
    words, _, path = str(error).partition(" - at `$.")
    message = f"a message is a JSON object with an id and a type ({known}): {words}"
    return RequestError(Code.INVALID_REQUEST, message, param=path.rstrip("`") or None)
