"""One door: a bound socket, an aiohttp application behind it, and how it is closed without losing an answer.

Order of a drain: stop accepting, let idle connections go, wait for answers under way, then cancel what is left.
aiohttp's own clean-up spends its timeout twice and site by site; here the four doors share one deadline.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial

from aiohttp import web

from citadel_edge.config.shape import HttpConfig, ListenerConfig, ListenerName, Tls
from citadel_edge.errors import StartError
from citadel_edge.listeners.common.protocol import Connections, DoorProtocol
from citadel_edge.telemetry.clock import Clock

BACKLOG = 1024
CANCEL_WITHIN_S = 1.0


class Door:
    """A listener that takes connections. Build with `open_door`."""

    def __init__(
        self,
        name: ListenerName,
        *,
        runner: web.AppRunner,
        server: asyncio.Server,
        connections: Connections,
        scheme: str,
    ) -> None:
        self.name = name
        self.scheme = scheme
        self.connections = connections
        self._runner = runner
        self._server = server
        self.address: tuple[str, int] = server.sockets[0].getsockname()[:2]

    @property
    def url(self) -> str:
        """Where a client on this machine finds it."""
        host, port = self.address
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        return f"{self.scheme}://{f'[{shown}]' if ':' in shown else shown}:{port}"

    def stop_accepting(self) -> None:
        """Take no new connection."""
        self._server.close()

    async def wait_idle(self) -> None:
        """Close idle connections now and busy ones after their answer; wait until none is left."""
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()
        await self.connections.none.wait()

    async def close(self, within_s: float = CANCEL_WITHIN_S) -> None:
        """Cancel what is still under way and let everything go. aiohttp may spend `within_s` twice."""
        self.stop_accepting()
        if self._runner.server is not None:
            await self._runner.server.shutdown(within_s)
        await self._runner.cleanup()


async def open_door(
    name: ListenerName,
    app: web.Application,
    *,
    bound: socket.socket,
    listener: ListenerConfig,
    http: Callable[[], HttpConfig],
    clock: Clock,
) -> Door:
    """Put an application behind a bound socket. From here on it takes connections."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=CANCEL_WITHIN_S)
    await runner.setup()
    loop = asyncio.get_running_loop()
    connections = Connections()
    make = partial(_protocol, runner.server, loop=loop, http=http, connections=connections, clock=clock)
    tls = tls_context(name, listener.tls)
    handshake_s = None if tls is None else http().header_timeout_s
    server = await loop.create_server(make, sock=bound, backlog=BACKLOG, ssl=tls, ssl_handshake_timeout=handshake_s)
    scheme = "http" if tls is None else "https"
    return Door(name, runner=runner, server=server, connections=connections, scheme=scheme)


def bind(name: ListenerName, host: str, port: int) -> socket.socket:
    """A bound socket, not yet listening. Port 0 asks the system for a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise StartError(
            f"listeners.{name.value}: cannot bind {host}:{port}: {error.strerror}; "
            "free the port or set another one (key `port`, or the listener's environment variable)"
        ) from error
    bound.setblocking(False)
    return bound


def tls_context(name: ListenerName, tls: Tls | None) -> ssl.SSLContext | None:
    """The server's TLS context, or null for plain HTTP."""
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"listeners.{name.value}.tls: {tls.cert} and {tls.key} cannot be used: {error}") from error
    return context


def _protocol(
    server: web.Server | None,
    *,
    loop: asyncio.AbstractEventLoop,
    http: Callable[[], HttpConfig],
    connections: Connections,
    clock: Clock,
) -> DoorProtocol:
    if server is None:
        raise RuntimeError("the door is closed")
    bounds = http()
    return DoorProtocol(
        server,
        loop=loop,
        bounds=bounds,
        connections=connections,
        clock=clock,
        keepalive_timeout=bounds.idle_timeout_s,
        access_log=None,
        lingering_time=2.0,
        auto_decompress=False,  # what a stranger compressed is never unpacked on the loop
        max_line_size=8190,
        max_field_size=8190,
    )
