"""What is known of a stream besides its events. Plain values; those that go into the log carry a version.

Decides what of a request has to be kept so that another instance can go on with it. Refuses to know what becomes of it.
"""

from enum import Enum, StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from citadel_edge.streams.cursor import Cursor

GRACE_S: Final = 60.0


class OnDisconnect(StrEnum):
    """What a generation does when nobody reads it: stop, go on to its end, or wait a while for a reader."""

    CANCEL = "cancel"
    FINISH = "finish"
    GRACE = "grace"


class Policy(Struct, frozen=True, kw_only=True):
    """`grace_s` counts from the creation or the last reader, for GRACE alone."""

    on_disconnect: OnDisconnect = OnDisconnect.GRACE
    grace_s: float = GRACE_S


class State(StrEnum):
    """How a stream is. All but RUNNING are ends, and an end is for good."""

    RUNNING = "running"
    DONE = "done"
    ERROR = "error"
    TRUNCATED = "truncated"
    CANCELLED = "cancelled"


class Owner(Struct, frozen=True, kw_only=True):
    """Whose stream it is: the accounts' own ids."""

    organisation_id: str
    user_id: str
    key_id: str = ""


class Origin(Struct, frozen=True, kw_only=True):
    """What whoever goes on with a stream needs of the request that began it. Times are in seconds since 1970.

    Attributes:
        body: the request's bytes, as the client sent them.
        kind: of the request, `chat` or `completion`.
        due_unix_s: when the client's own deadline is over, if it set one.
        dialect: how the door that began it speaks, `openai` or `resumable`.
        facts: what else the creator wants to find again; JSON types.
    """

    body: bytes
    kind: str
    listener: str
    endpoint: str
    request_id: str
    traceparent: str
    created_unix_s: float
    due_unix_s: float | None = None
    optimize: str | None = None
    session: str | None = None
    dialect: str = "openai"
    facts: dict[str, Any] = {}
    v: int = 1


class Begun(Struct, frozen=True, kw_only=True):
    """What is known once an upstream has begun to answer.

    Attributes:
        headers: those of the answer.
        upstream: the replica's id.
        model: the one that answers, by its public name.
        reservations: ids of what limits have reserved for it.
        facts: what else the producer wants to find again; JSON types.
    """

    headers: dict[str, str] = {}
    upstream: str = ""
    model: str = ""
    reservations: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    v: int = 1


class Terminal(Struct, frozen=True, kw_only=True):
    """A stream's one last record.

    Attributes:
        outcome: not RUNNING.
        usage: OpenAI's usage object, if known.
        error: OpenAI's error object, if it ended with one.
        tokens_saved: how many tokens were not generated because somebody stopped it, if that can be said.
        finish_reason: why the model stopped, as its first choice says; records of before have none.
        facts: what else the producer wants to tell; JSON types.
    """

    outcome: State
    usage: dict[str, Any] | None = None
    cost_usd: float = 0.0
    attempts: int = 0
    error: dict[str, Any] | None = None
    tokens_saved: int | None = None
    finish_reason: str | None = None
    facts: dict[str, Any] = {}
    v: int = 1


class Once(Struct, frozen=True, kw_only=True):
    """A start that is to happen once: the same key joins the stream that it began.

    Attributes:
        key: the client's, made unique by whoever it belongs to (`<user id>:<Idempotency-Key>`).
        body_hash: of what was asked; with another one the key is refused.
    """

    key: str
    body_hash: bytes


class Batch(Struct, frozen=True, kw_only=True):
    """All that a reader can have now.

    Attributes:
        first: the number of the first payload; without payloads, of the next there will be.
        payloads: one event's data each.
        epoch: of each payload's cursor. It may differ from that of the batch before.
        durable: the log has them: they survive the death of this process.
        terminal: the stream is over, and nothing comes after this batch.
        lost: the first and the last number of events that this reader will not get, or got otherwise than the log has
            them; they would stand before `payloads`. Whoever shows the text has to say so.
        came_s: when the first payload was said (monotonic seconds); None: in another process, or long ago.
        moved: this process ends: nothing comes after this batch here, and the stream goes on elsewhere.
    """

    first: int
    payloads: list[bytes]
    epoch: str
    durable: bool = True
    terminal: Terminal | None = None
    lost: tuple[int, int] | None = None
    came_s: float | None = None
    moved: bool = False

    @property
    def last(self) -> int:
        """The number of the last payload; one less than `first` if there is none."""
        return self.first + len(self.payloads) - 1

    @property
    def cursor(self) -> Cursor:
        """After the whole batch."""
        return Cursor(self.epoch, self.last)


class Recovered(Enum):
    """Whether a reader goes on exactly where its cursor says."""

    FULL = "full"
    NONE = "none"


class Recovery(Struct, frozen=True):
    """What became of a reader's cursor.

    Attributes:
        recovered: NONE: reading begins with the first event there is.
        lost: numbers of the first and the last event that are missing between the cursor and there, where they are
            known; the first batch says the same.
    """

    recovered: Recovered
    lost: tuple[int, int] | None = None


class Info(Struct, frozen=True, kw_only=True):
    """A stream as it is now.

    Attributes:
        first: the number of the first event that can be read; all before it were let go.
        cursor: after the last event that can be read.
        durable: the log has all of it.
        here: this process produces it.
        readers: how many read it in this process.
    """

    id: str
    owner: Owner
    policy: Policy
    state: State
    first: int
    cursor: Cursor
    durable: bool
    created_unix_s: float
    here: bool
    readers: int
    origin: Origin
    begun: Begun | None = None
    terminal: Terminal | None = None


TERMINAL_DECODER: Final = msgspec.json.Decoder(Terminal)
BEGUN_DECODER: Final = msgspec.json.Decoder(Begun)
