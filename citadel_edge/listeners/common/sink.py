"""The client's end of a completion: what the pipeline begins, writes and finishes, over one HTTP answer.

The await on the client's socket is the back-pressure; a client that takes nothing for `WRITE_WITHIN_S` is let go.
"""

import asyncio
from collections.abc import Mapping

from aiohttp import web

EVENT_STREAM = "text/event-stream"
WRITE_WITHIN_S = 60.0


class ClientStalled(ConnectionError):
    """The client took no byte for too long."""


class HttpSink:
    """Turns the pipeline's calls into an aiohttp answer, streamed or whole."""

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
        await self.response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Hand bytes to the socket; waits while the client's window is shut."""
        if self.response is None:
            raise RuntimeError("write before begin")
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if transport.get_write_buffer_size() == 0:
            await self.response.write(data)
            return
        try:
            async with asyncio.timeout(WRITE_WITHIN_S):
                await self.response.write(data)
        except TimeoutError:
            transport.abort()
            raise ClientStalled(f"the client took no byte for {WRITE_WITHIN_S:g} s") from None

    async def finish(self) -> None:
        """The last byte is out."""
        if self.response is not None:
            await self.response.write_eof()


_SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
