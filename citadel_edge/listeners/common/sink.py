"""The client's end of a completion: what the pipeline begins, writes and finishes, over one HTTP answer.

The await on the client's socket is the back-pressure. Bytes leave in pieces, and a client that does not take a piece
within `WRITE_WITHIN_S` is let go, whether its answer comes in a thousand writes or in one. A token that goes into an
empty buffer cannot wait and pays for no timer.
"""

import asyncio
from collections.abc import Awaitable, Mapping

from aiohttp import web

from citadel_edge.completions.call import ClientGone

__all__ = ["EVENT_STREAM", "WRITE_WITHIN_S", "ClientGone", "ClientStalled", "HttpSink"]

EVENT_STREAM = "text/event-stream"
WRITE_WITHIN_S = 60.0
PIECE_BYTES = 64 * 2**10
NEVER_WAITS_BYTES = 16 * 2**10  # with a head before it still under any transport's high-water mark


class ClientStalled(ClientGone):
    """The client took no byte for too long."""


class HttpSink:
    """Turns the pipeline's calls into an aiohttp answer, streamed or whole. All of them raise `ClientGone`."""

    def __init__(self, request: web.Request, *, headers: Mapping[str, str] | None = None) -> None:
        self._request = request
        self._headers = dict(headers or {})
        self.response: web.StreamResponse | None = None

    async def begin(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        """Send the head. Headers of a whole answer leave together with its body."""
        merged = {**self._headers, **headers}
        if content_type.startswith(EVENT_STREAM):
            self.response = web.StreamResponse(status=status, headers={**merged, **_SSE_HEADERS})
        else:
            self.response = web.StreamResponse(status=status, headers={**merged, "Content-Type": content_type})
        try:
            await self.response.prepare(self._request)
        except ConnectionError as error:
            raise _gone(error) from error

    async def write(self, data: bytes) -> None:
        """Hand bytes to the socket; waits while the client's window is shut."""
        if self.response is None:
            raise RuntimeError("write before begin")
        if len(data) <= PIECE_BYTES:
            await self._put(self.response.write(data), len(data))
            return
        rest = memoryview(data)
        while rest:
            piece, rest = rest[:PIECE_BYTES], rest[PIECE_BYTES:]
            await self._put(self.response.write(piece), len(piece))

    async def finish(self) -> None:
        """The last byte is out."""
        if self.response is not None:
            await self._put(self.response.write_eof(), 0)
