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
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the client is gone")
        if len(data) > NEVER_WAITS_BYTES or transport.get_write_buffer_size() > 0:
            await self._write_pieces(self.response, memoryview(data))
            return
        try:
            await self.response.write(data)
        except ConnectionError as error:
            raise _gone(error) from error

    async def finish(self) -> None:
        """The last byte is out."""
        if self.response is not None:
            await self._in_time(self.response.write_eof())

    async def _write_pieces(self, response: web.StreamResponse, rest: memoryview) -> None:
        while rest:
            await self._in_time(response.write(rest[:PIECE_BYTES]))
            rest = rest[PIECE_BYTES:]

    async def _in_time(self, writing: Awaitable[None]) -> None:
        """Wait for the client to take it, or let go of one that does not."""
        try:
            async with asyncio.timeout(WRITE_WITHIN_S):
                await writing
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ClientStalled(f"the client took no byte for {WRITE_WITHIN_S:g} s") from None
        except ConnectionError as error:
            raise _gone(error) from error


def _gone(error: ConnectionError) -> ClientGone:
    return ClientGone(f"the client is gone: {error}")


_SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
