"""The door's side of one connection: bounds on heads that drip or swell, and honest answers to what is no HTTP.

aiohttp bounds a line and the number of lines of a head, not its whole size nor the time it takes; this does.
Refuses to know what a request asks for.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import ClientConnectionResetError, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from citadel_edge.config.shape import HttpConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.problems import SERVER, internal_error, problem, respond
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import request_id

LINGER_S = 2.0
SECOND_LOOK_S = 0.1


@dataclass(slots=True)
class Connections:
    """How many connections a door holds, and how many it turned away; `none` is set while there is none."""

    open: int = 0
    refused: int = 0
    none: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.none.set()

    def opened(self) -> int:
        """One more; how many that makes."""
        self.open += 1
        self.none.clear()
        return self.open

    def closed(self) -> None:
        """One less."""
        self.open -= 1
        if self.open == 0:
            self.none.set()


class DoorProtocol(RequestHandler):
    """aiohttp's connection handler with a bounded head: so many bytes, so many seconds.

    Attributes:
        on_bytes: told how many bytes came, once the connection is a WebSocket; set by whoever accounts for them.
    """

    __slots__ = ("_bounds", "_clock", "_connections", "_head_bytes", "_head_timer", "_refused", "on_bytes")

    def __init__(
        self, manager: web.Server, *, bounds: HttpConfig, connections: Connections, clock: Clock, **kwargs: Any
    ) -> None:
        super().__init__(manager, **kwargs)
        self._bounds = bounds
        self._connections = connections
        self._clock = clock
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._refused = False
        self.on_bytes: Callable[[int], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; one too many is told so at once."""
        super().connection_made(transport)
        if self._connections.opened() > self._bounds.max_connections:
            self._connections.refused += 1
            self._refuse(RequestError(Code.OVERLOADED, "too many connections; try again", retry_after_s=1))
            return
        self._arm()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let the count and the timer go."""
        self._connections.closed()
        self._disarm()
        super().connection_lost(exc)

    def close(self) -> None:
        """Take no further request. A WebSocket is heard until its handler has closed it with its peer.

        aiohttp's own stops waiting for a request and leaves the connection open, until all are cut in the end.
        """
        if self._payload_parser is not None:
            return
        idle = self._waiter is not None and not self._waiter.done()
        super().close()
        if idle and self.transport is not None:
            self.transport.close()

    async def _drain_helper(self) -> None:
        """Wait until the client takes bytes again.

        aiohttp's own lets all who wait share one future: whoever gives up cancels it for the others, and for everyone
        who waits later, as if the connection had been cut.
        """
        if self.transport is None:
            raise ClientConnectionResetError("Connection lost")
        if not self._paused:
            return
        if self._drain_waiter is None:
            self._drain_waiter = self._loop.create_future()
        await asyncio.shield(self._drain_waiter)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; while a head is under way, watch its size and its time.

        Nothing is no beginning of a head: aiohttp looks so for what it had left unread, while an answer is under way.
        """
        if self._refused:
            return
        reading_head, heads = self._reading_head(), self._request_count
        super().data_received(data)
        if self.on_bytes is not None:
            self.on_bytes(len(data))
        if not reading_head or self._request_count > heads:
            self._disarm()
        elif data:
            self._count_head(len(data))

    def _reading_head(self) -> bool:
        """Whether what comes next is a head: of a first request, or of one sent behind others.

        After an upgrade there are no heads any more: what comes is the WebSocket's.
        """
        if self._upgraded:
            return False
        if self._waiter is not None and not self._waiter.done():
            return True
        if self._messages:
            return bool(self._messages[-1][1].is_eof())
        return self._current_request is not None and bool(self._current_request.content.is_eof())

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._bounds.max_header_bytes:
            limit = self._bounds.max_header_bytes
            self._refuse(RequestError(Code.HEADERS_TOO_LARGE, f"the request's head is over {limit} bytes"))
        elif self._head_timer is None:
            self._arm()

    def _arm(self) -> None:
        self._head_timer = self._loop.call_later(self._bounds.header_timeout_s, self._head_late)

    def _disarm(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        """A loop that was busy finds timers and bytes due at once: what is in the socket already counts as in time."""
        self._head_timer = self._loop.call_later(SECOND_LOOK_S, self._head_over)

    def _head_over(self) -> None:
        self._head_timer = None
        if self._head_bytes == 0:
            self.force_close()  # it never said a word
            return
        limit = self._bounds.header_timeout_s
        self._refuse(RequestError(Code.REQUEST_TIMEOUT, f"the request's head took longer than {limit:g} s"))

    def _refuse(self, error: RequestError) -> None:
        """Answer outside of any request, then read the rest away for a moment: a reset would lose the answer."""
        self._refused = True
        self._disarm()
        transport = self.transport
        if transport is None:
            return
        if self._current_request is not None:  # an answer is under way: it is the last of this connection
            self.close()
            return
        transport.write(_raw_answer(error, request_id(self._clock)))
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(LINGER_S, self.force_close)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the base class's signature; its texts are not for clients
    ) -> web.StreamResponse:
        """What aiohttp answers by itself (bytes that are no HTTP, a fault in a handler), in our shape."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun; it cannot be taken back")
        if status >= 500:  # noqa: PLR2004 - the HTTP classes
            self.log_exception("unhandled", exc_info=exc)
        identity = request_id(self._clock)
        answer = respond(_parse_error(status, exc), identity, openai=False)
        answer.headers["Server"] = SERVER  # else aiohttp names itself and Python
        answer.headers["X-Request-Id"] = identity
        answer.force_close()
        return answer


def _parse_error(status: int, exc: BaseException | None) -> RequestError:
    if isinstance(exc, LineTooLong):
        return RequestError(Code.HEADERS_TOO_LARGE, "a line of the request's head is too long")
    if status >= 500:  # noqa: PLR2004 - the HTTP classes
        return internal_error()
    if exc is not None and "headers" in str(exc).lower() and "many" in str(exc).lower():
        return RequestError(Code.HEADERS_TOO_LARGE, "the request's head has too many lines")
    return RequestError(Code.INVALID_REQUEST, "this is no HTTP/1.1 request that can be understood")


def _raw_answer(error: RequestError, identity: str) -> bytes:
    body = problem(error, identity)
    lines = [
        f"HTTP/1.1 {error.code.status} {HTTPStatus(error.code.status).phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"Server: {SERVER}",
        f"X-Request-Id: {identity}",
        "Connection: close",
    ]
    if error.retry_after_s is not None:
        lines.append(f"Retry-After: {math.ceil(error.retry_after_s)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
