"""One answer on its way to the client: headers, frames, end. Knows aiohttp's response, not what is in the frames."""

import asyncio
from collections.abc import Awaitable, Mapping

from aiohttp import web

from citadel_edge.simulator.wounds import tear

SEAM_S = 0.002  # between the parts of a torn frame, so that they travel apart


class Out:
    """A response that is sent in parts.

    Args:
        request: whom it answers.
        headers: of the response.
        torn: send every character of several bytes in several segments.
        tolerant: a client that left is no error; the parts are dropped.
    """

    def __init__(self, request: web.Request, headers: Mapping[str, str], *, torn: bool, tolerant: bool) -> None:
        self.response = web.StreamResponse(headers=headers)
        self._request = request
        self._torn = torn
        self._tolerant = tolerant

    async def open(self) -> None:
        """Send the headers, unless they are out."""
        if not self.response.prepared:
            await self._through(self.response.prepare(self._request))

    async def write(self, data: bytes) -> None:
        """Send some bytes; none is no end."""
        if not data:
            return
        if self._torn and not data.isascii():
            for part in tear(data):
                await self._through(self.response.write(part))
                await asyncio.sleep(SEAM_S)
        elif self._tolerant:
            await self._through(self.response.write(data))
        else:
            await self.response.write(data)

    async def end(self) -> None:
        """End the body properly."""
        await self._through(self.response.write_eof())

    async def _through(self, sending: Awaitable[object]) -> None:
        try:
            await sending
        except ConnectionError:
            if not self._tolerant:
                raise
