"""One upstream's answer under way: its bytes, how long they may take, and how it is cut off.

Decides when an upstream has been silent for too long. The clock runs only while somebody waits for bytes: a client
that reads slowly is no fault of the upstream. Waiting costs no timer per read: one timer is armed and looks, when it
rings, whether it should have. Refuses to know what the bytes mean.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Final, Protocol, Self

from aiohttp import ClientError, ClientPayloadError, ClientResponse

from citadel_edge.errors import CitadelError, UpstreamError, UpstreamFault

MAX_ANSWER_BYTES: Final = 64 * 2**20
_YIELD_EVERY: Final = (
    32  # reads: those that find bytes waiting never suspend, and a fast upstream would starve the loop
)


class Watched(Protocol):
    """Whoever wants to know when the last byte came, in the loop's time (monotonic seconds)."""

    last_byte_at: float


class UpstreamAnswer:
    """Status and body of one call. Whoever opened it calls `abort` in the end, whatever happened.

    Attributes:
        status: the HTTP status.
        content_type: as the upstream sent it, empty when it did not.
        retry_after_s: what it asked for, in seconds, None when it did not or sent a date.
    """

    def __init__(
        self,
        response: ClientResponse,
        *,
        idle_s: float,
        first_token_due: float = math.inf,
        seen: Sequence[Watched] = (),
    ) -> None:
        self._response = response
        self._loop = asyncio.get_running_loop()
        self._idle_s = idle_s
        self._seen = seen
        self._first_token_due = first_token_due
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reads = 0
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")
        self.retry_after_s = parse_retry_after(response.headers.get("Retry-After"))

    @property
    def finished(self) -> bool:
        """The upstream sent its last byte; the connection is free for the next call."""
        return self._response.content.is_eof()

    def first_token_seen(self) -> None:
        """From now on no wait is longer than the idle time. The reader calls this, between two reads."""
        self._first_token_due = math.inf
        self._disarm()

    def chunks(self) -> Self:
        """The body's bytes as they come, for one reader."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Some bytes, never none.

        Raises:
            UpstreamError: silent for too long, or the connection broke.
        """
        self._reads += 1
        if self._reads % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
        self._waiting_since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._due(self._waiting_since), self._ring)
        try:
            data = await self._response.content.readany()
        except (ClientError, OSError) as error:
            raise broken(error) from error
        finally:
            self._waiting_since = None
        if not data:
            raise StopAsyncIteration
        now = self._loop.time()
        for watched in self._seen:
            watched.last_byte_at = now
        return data

    async def read(self, limit: int = MAX_ANSWER_BYTES) -> bytes:
        """The whole body.

        Raises:
            UpstreamError: as iterating, or MALFORMED when it is larger than `limit` bytes.
        """
        parts: list[bytes] = []
        size = 0
        async for part in self:
            size += len(part)
            if size > limit:
                raise UpstreamError(UpstreamFault.MALFORMED, f"its answer is larger than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    async def read_start(self, limit: int) -> bytes:
        """At most the first `limit` bytes: enough of an error to be understood."""
        parts: list[bytes] = []
        size = 0
        async for part in self:
            parts.append(part)
            size += len(part)
            if size >= limit:
                break
        return b"".join(parts)[:limit]

    def fail(self, error: CitadelError) -> None:
        """Whoever reads gets this error instead of further bytes. From outside, at any time."""
        self._response.content.set_exception(error)

    def hang_up(self) -> bool:
        """Say that nothing more is wanted: the engine sees it, and what it has sent can still be read.

        False where that cannot be said, as over TLS.
        """
        connection = self._response.connection
        if connection is None or connection.transport is None or not connection.transport.can_write_eof():
            return False
        connection.transport.write_eof()
        return True

    def abort(self) -> None:
        """Let go at once, without waiting. An answer that is not finished loses its connection: the engine sees it."""
        self._disarm()
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._response.close()

    def _due(self, since: float) -> float:
        return since + self._idle_s if self._first_token_due == math.inf else self._first_token_due

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._waiting_since is None:
            return
        due = self._due(self._waiting_since)
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._ring)
        else:
            self._response.content.set_exception(self._silent())

    def _silent(self) -> UpstreamError:
        if self._first_token_due == math.inf:
            return UpstreamError(UpstreamFault.IDLE_TIMEOUT, f"it sent nothing for {self._idle_s:g} s")
        return UpstreamError(UpstreamFault.FIRST_TOKEN_TIMEOUT, "no token came in time")


def broken(error: Exception) -> UpstreamError:
    """What a broken connection is called here."""
    if isinstance(error, ClientPayloadError):
        return UpstreamError(UpstreamFault.TRUNCATED, "the connection ended inside its answer")
    return UpstreamError(UpstreamFault.RESET, f"the connection broke: {str(error) or type(error).__name__}")


def parse_retry_after(text: str | None) -> float | None:
    """Seconds of a `Retry-After` header; dates are not worth a clock here."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None
