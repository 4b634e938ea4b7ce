"""A response of Server-Sent Events that outlives silent upstreams and bounds silent clients.

Decides when a heartbeat is due (after a silence, and once at the very beginning, before any event), how long a client
may take to take what it is sent, and how one that takes nothing is let go: with a last event if it will have it. What
waits in the socket's buffer is counted to the listener. Refuses to know what the events say.
"""

import asyncio
from collections.abc import Mapping

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse

from citadel_edge.budgets.budget import Budget
from citadel_edge.listeners.common.sink import NEVER_WAITS_BYTES, ClientGone, ClientStalled
from citadel_edge.wire.sse import PING

HEARTBEAT_S = 13.0
SEND_WITHIN_S = 30.0
LAST_WORDS_S = 5.0
GIVE_UP_AFTER_S = 90.0
"""How long the kernel keeps a connection whose other end acknowledges nothing, or has had no room all the time."""


class EventStream(EventSourceResponse):
    """aiohttp-sse's response with a heartbeat that strict clients survive: one comment line, no empty event.

    `async with` it once it is prepared; one task says things.
    """

    def __init__(self, *, budget: Budget, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            sep="\n", ping_interval=HEARTBEAT_S, send_timeout=GIVE_UP_AFTER_S, headers=headers, allow_all_methods=True
        )
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._said_s = self._loop.time()
        self._saying = False
        self._concluded = False
        self._counted_bytes = 0

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the status and a first heartbeat; again, as aiohttp does in the end, does nothing."""
        if self.prepared:
            return await super().prepare(request)
        writer = await super().prepare(request)
        await self.say(PING)
        return writer

    async def say(self, data: bytes) -> None:
        """Send whole events or comments.

        Raises:
            ClientGone: it has left. ClientStalled: it took nothing within `SEND_WITHIN_S`.
            RequestError: OVERLOADED, the listener may hold no more.
        """
        self._saying = True
        try:
            if self._waiting() or len(data) > NEVER_WAITS_BYTES:
                await self._say_in_time(data)
            else:
                await self.write(data)
        except ClientGone:
            raise
        except ConnectionError as error:
            raise ClientGone(f"the client is gone: {error}") from error
        finally:
            self._saying = False
            self._said_s = self._loop.time()
        if (waiting := self._waiting()) != self._counted_bytes:
            self._count(waiting)

    async def conclude(self, data: bytes = b"") -> None:
        """Say the last events there are, if any: `part` puts none behind them. Raises as `say`."""
        self._concluded = True
        if data:
            await self.say(data)

    def say_at_once(self, data: bytes) -> bool:
        """Send whole events if nothing has to be waited for, because all before is out. False: nothing was sent."""
        writer = self._payload_writer
        if writer is None or self._saying or self._counted_bytes or len(data) > NEVER_WAITS_BYTES or self._waiting():
            return False
        writing = writer.write(data)
        try:
            writing.send(None)  # into an empty buffer: it cannot wait
        except StopIteration:
            self._said_s = self._loop.time()
            return True
        except ConnectionError:
            return False  # whoever says more is told why
        finally:
            writing.close()
        return True

    async def part(self, last_words: bytes) -> bool:
        """End with an event, if any, for a client that may hardly read; whether it took it. If not, it is cut off."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                if last_words and not self._concluded:
                    await self.write(last_words)
                await self.write_eof()
        except (TimeoutError, ConnectionError):
            self._abort_transport()
            return False
        return True

    async def __aexit__(self, *exc: object) -> None:
        """Stop the heartbeat. What ends the stream passes as it is: the base class would put another in its place."""
        self._count(0)
        self.stop_streaming()
        ping = self._ping_task
        if ping is not None:
            await asyncio.wait({ping})  # not by awaiting it: who is cancelled meanwhile is to hear why
            if not ping.cancelled():
                ping.result()

    async def _ping(self) -> None:
        while True:
            silence_s = self._loop.time() - self._said_s
            if self._saying or silence_s < self._ping_interval:
                await asyncio.sleep(self._ping_interval - silence_s if not self._saying else self._ping_interval)
                continue
            try:
                await self.say(PING)
            except ClientGone:
                self._abort_transport()
                return

    async def _say_in_time(self, data: bytes) -> None:
        self._count(self._waiting() + len(data))
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self.write(data)
        except TimeoutError:
            raise ClientStalled(f"the client took nothing for {SEND_WITHIN_S:g} s") from None

    def _waiting(self) -> int:
        """Bytes that the client has not taken yet."""
        transport = self._req.transport if self._req is not None else None
        return 0 if transport is None else transport.get_write_buffer_size()

    def _count(self, waiting: int) -> None:
        """Count to the listener what the client has not taken yet."""
        if waiting > self._counted_bytes:
            self._budget.take_bytes(waiting - self._counted_bytes)
        else:
            self._budget.give_bytes(self._counted_bytes - waiting)
        self._counted_bytes = waiting
