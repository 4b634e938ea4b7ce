"""`SUBSCRIBE` on a connection of its own, kept alive for ever.

Decides when a subscription has to be made anew, and says so: what was published in between is lost, so whoever listens
must distrust what it remembers. Refuses to know what the messages mean.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio.connection import ConnectionPool, RedisSSLContext

from citadel_edge.storage.backoff import Backoff
from citadel_edge.storage.redis_faults import FAULTS
from citadel_edge.storage.redis_link import make_connection
from citadel_edge.storage.redis_node import Servers

CONNECT_S: Final = 2.0
HEARTBEAT_S: Final = 2.0


class RedisListener:
    """One channel's subscription. `subscribed` tells whether it hears at this moment."""

    def __init__(
        self,
        servers: Servers,
        channel: str,
        on_message: Callable[[bytes], None],
        on_subscribed: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        *,
        tls: RedisSSLContext | None = None,
    ) -> None:
        self._servers = servers
        self._tls = tls
        self._channel = channel
        self._on_message = on_message
        self._on_subscribed = on_subscribed or _nothing
        self._on_lost = on_lost or _nothing
        self.subscribed = False

    async def run(self) -> None:
        """Listen until cancelled, connecting again with growing pauses, of a cluster each time to another node."""
        pauses = Backoff(0.05, 1.0)
        turn = 0
        while True:
            # The pool's gate tells operators; here only the next attempt matters.
            with contextlib.suppress(*FAULTS):
                await self._listen_once(self._servers.connections(turn), pauses)
            turn += 1
            await asyncio.sleep(pauses.next_s())

    async def _listen_once(self, pool: ConnectionPool, pauses: Backoff) -> None:
        connection = make_connection(pool, self._tls)
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()
                connection._get_parser().set_pubsub_push_handler(_as_it_is)  # noqa: SLF001 - the default one logs messages
                await connection.send_command("SUBSCRIBE", self._channel, check_health=False)
            await self._hear(pool, connection, pauses)
        finally:
            await connection.disconnect(nowait=True)
            if self.subscribed:
                self.subscribed = False
                self._on_lost()

    async def _hear(self, pool: ConnectionPool, connection: Any, pauses: Backoff) -> None:
        """Until the connection fails or leads elsewhere. Silence longer than the heartbeat is asked who is there."""
        asked = False
        while self._servers.is_current(pool):
            reply = await connection.read_response(timeout=HEARTBEAT_S, push_request=True)
            if reply is not None:
                asked = False
                self._take(reply, pauses)
            elif asked or not self.subscribed:
                raise TimeoutError
            else:
                asked = True
                await connection.send_command("PING", check_health=False)

    def _take(self, reply: Any, pauses: Backoff) -> None:
        match reply:
            case [b"subscribe", *_]:
                self.subscribed = True
                pauses.reset()
                self._on_subscribed()
            case [b"message", _, bytes(data)]:
                self._on_message(data)


async def _as_it_is(push: Any) -> Any:
    return push


def _nothing() -> None:
    pass
