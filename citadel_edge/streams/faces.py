"""What the streams' one door hands out: a start, a stream to be read, one to be taken over, and how they all are."""

from types import TracebackType
from typing import Self

from msgspec import Struct

from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.live import Live
from citadel_edge.streams.reader import Reader
from citadel_edge.streams.values import Begun, Info, Origin, Owner, Recovery


class Created(Struct, frozen=True):
    """A start. `live` is None when the stream was there already (`created` is False): somebody else produces it."""

    live: Live | None
    id: str
    created: bool


class Opened(Struct, frozen=True):
    """A stream to be read. Leaving the context closes the reader."""

    info: Info
    reader: Reader
    recovery: Recovery

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reader.close()


class Orphan(Struct, frozen=True):
    """A stream whose producer died, now this process's: whoever is handed it goes on with `live`, or ends it.

    Attributes:
        live: appends behind the events there are; its `stop` is set if somebody asked to stop meanwhile.
        begun: what was known of it; None: no upstream had begun to answer.
        reservations: what limits had reserved for it.
        events: from `first` on.
        first: 1, unless the oldest events were let go.
        hopeless: nobody is to go on with it, only to end it: nobody has for long, or the log has not all of it.
    """

    live: Live
    origin: Origin
    begun: Begun | None
    reservations: tuple[str, ...]
    events: list[bytes]
    first: int
    hopeless: bool = False


class StreamsState(Struct, frozen=True):
    """How the log is, for health. `running` are produced here; `held_bytes` lie in this process's memory."""

    durable: bool
    detail: str
    running: int
    followed: int
    held_bytes: int


def anyone(_owner: Owner) -> bool:
    """Lets everybody."""
    return True


def unknown_stream(stream: str) -> RequestError:
    """There is none, or it is another's: which of both is nobody's business."""
    return RequestError(Code.NOT_FOUND, f"there is no stream {stream[:64]!r}: it never was, or its time is over")


def log_is_away() -> RequestError:
    """It is another instance's, and there is no way to it."""
    message = "the stream's log cannot be read: Redis is away; come back with the cursor"
    return RequestError(Code.NO_CAPACITY, message, retry_after_s=1)


def stream_is_lost() -> RequestError:
    """It was there."""
    return RequestError(Code.NOT_FOUND, "the stream is lost: Redis has lost its memory, and its producer is gone")


def other_start() -> RequestError:
    """A key is good for one thing."""
    message = "this Idempotency-Key was used for another request; use a new key"
    return RequestError(Code.IDEMPOTENCY_MISMATCH, message)
