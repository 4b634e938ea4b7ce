"""The simulated server's port, which can be closed as that of a dead process is, and opened again.

Closed means: bound, so that nobody else takes the port, but not listening, so that the kernel refuses connections;
and every open connection is reset.
"""

import asyncio
import socket

from aiohttp import web

from citadel_edge.simulator.wounds import reset

BACKLOG = 1024
ACCEPTED_WITHIN = 3  # turns of the loop: the task that makes the transport, its start, its protocol's


class Door:
    """One listening address of a runner."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self._socket = _bound(host, port)
        self._address = self._socket.getsockname()
        self._site: web.SockSite | None = None

    @property
    def url(self) -> str:
        """`http://host:port`."""
        host, port = self._address[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._site is not None

    async def open(self) -> None:
        """Listen."""
        if self._site is None:
            self._site = web.SockSite(self._runner, self._socket, backlog=BACKLOG)
            await self._site.start()

    async def shut(self) -> None:
        """Stop listening, reset all connections, keep the port."""
        if self._site is not None:
            site, self._site = self._site, None
            await self._accept_no_more()
            await site.stop()
            self._socket.close()
            self._socket = _bound(*self._address[:2])
        self.drop_connections()

    async def _accept_no_more(self) -> None:
        """Let those just accepted become connections: asyncio leaks the sockets whose server closes before."""
        asyncio.get_running_loop().remove_reader(self._socket)
        for _ in range(ACCEPTED_WITHIN):
            await asyncio.sleep(0)

    def drop_connections(self) -> None:
        """Reset every open connection."""
        server = self._runner.server
        for connection in [] if server is None else server.connections:
            reset(connection.transport)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
