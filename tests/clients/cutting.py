"""A way to a server that a test can cut and mend: one port, which forwards bytes and remembers what was asked."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PIECE = 65_536
AWAY_S = 0.2


class Way:
    """A TCP proxy. Its address stays while it is cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.asked = bytearray()
        self.cuts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def headers(self, name: str) -> list[str]:
        """The values of a header in what was asked, in order."""
        return [each.decode() for each in re.findall(rb"(?im)^%s: *(.*?)\r$" % name.encode(), bytes(self.asked))]

    async def mend(self) -> None:
        """Let clients in."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Reset every connection, and refuse new ones until it is mended."""
        self.cuts += 1
        self._server.close()
        for each in self._open:
            each.transport.abort()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._to)
            self._open |= {writer, inner_writer}
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, inner_writer, self.asked))
                group.create_task(self._pump(inner_reader, writer))
        except ConnectionError:  # the server is gone: the client shall notice
            writer.transport.abort()
        finally:
            self._tasks.discard(asyncio.current_task())

    async def _pump(self, reader, writer, kept: bytearray | None = None) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(PIECE):
                if kept is not None:
                    kept += piece
                writer.write(piece)
                await writer.drain()
        self._open.discard(writer)
        writer.close()


@asynccontextmanager
async def way_to(url: str) -> AsyncIterator[Way]:
    """A way to the server at this URL, open."""
    way = Way(int(url.rpartition(":")[2].partition("/")[0]))
    await way.mend()
    try:
        yield way
    finally:
        await way.cut()


async def lose(way: Way) -> None:
    """The connection, for a moment."""
    await way.cut()
    await asyncio.sleep(AWAY_S)
    await way.mend()
