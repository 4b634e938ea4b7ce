"""`LISTEN` on a connection of its own, kept alive for ever.

Decides when a subscription has to be made anew, and says so: what was notified in between is lost, so whoever listens
must distrust what it remembers. Refuses to know what the payloads mean.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from citadel_edge.storage.backoff import Backoff
from citadel_edge.storage.postgres_faults import DRIVER_ERRORS

CONNECT_S: Final = 5.0
HEARTBEAT_S: Final = 5.0


class PostgresListener:
    """One channel's subscription. `subscribed` tells whether it hears at this moment."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        channel: str,
        on_message: Callable[[str], None],
        on_subscribed: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._connect = connect
        self._channel = channel
        self._on_message = on_message
        self._on_subscribed = on_subscribed or _nothing
        self._on_lost = on_lost or _nothing
        self.subscribed = False

    async def run(self) -> None:
        """Listen until cancelled, connecting again with growing pauses."""
        pauses = Backoff(0.1, 2.0)
        while True:
            # The pool's gate tells operators; here only the next attempt matters.
            with contextlib.suppress(*DRIVER_ERRORS):
                await self._listen_once(pauses)
            await asyncio.sleep(pauses.next_s())

    async def _listen_once(self, pauses: Backoff) -> None:
        async with asyncio.timeout(CONNECT_S):
            connection = await self._connect()
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.add_listener(self._channel, self._heard)
            self.subscribed = True
            pauses.reset()
            self._on_subscribed()
            await self._stay(connection)
        finally:
            connection.terminate()
            if self.subscribed:
                self.subscribed = False
                self._on_lost()

    async def _stay(self, connection: Any) -> None:
        """Until the connection ends; a heartbeat finds out when nobody tells."""
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        while not connection.is_closed():
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await gone.wait()
            except TimeoutError:
                async with asyncio.timeout(HEARTBEAT_S):
                    await connection.execute("SELECT 1")

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        self._on_message(payload)


def _nothing() -> None:
    pass
