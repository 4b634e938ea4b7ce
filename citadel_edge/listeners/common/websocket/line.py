"""The way to one client: what is said and heard on its WebSocket, and how long anything may take.

Decides that writes have a deadline, that what waits for a client that does not read is counted to the listener and is
one message at a time, that a client that takes nothing or answers no ping is parted with, and in which words. Refuses
to know what messages mean.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import WSMessage, WSMsgType, web

from citadel_edge.budgets.budget import Budget
from citadel_edge.errors import RequestError
from citadel_edge.listeners.common.sink import NEVER_WAITS_BYTES, ClientGone, ClientStalled
from citadel_edge.listeners.common.websocket.closing import Codes, Goodbye, answer_close

HEARTBEAT_S: Final = 15.0
SEND_WITHIN_S: Final = 30.0
MESSAGE_WITHIN_S: Final = 60.0


class Line:
    """One client's. Several tasks say things, one hears.

    Attributes:
        codes: how the protocol that is spoken spells the ends that this side puts to it.
        goodbye: how this side ends it, once that is decided: nothing is said any more.
        place: the stream that was read last, and the cursor behind what was handed to the transport of it.
        closed: the client closed it. broken: the client did not keep to RFC 6455.
    """

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, budget: Budget, codes: Codes
    ) -> None:
        self.codes = codes
        self.goodbye: Goodbye | None = None
        self.place: tuple[str, str] | None = None
        self.closed = False
        self.broken = False
        self._socket = socket
        self._transport = transport
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._stuck = False
        self._heard_s = self._loop.time()
        self._unheard = 0
        self._unheard_since_s = self._heard_s
        self._hearing: asyncio.Timeout | None = None

    async def send(self, message: bytes, place: tuple[str, str] | None = None) -> None:
        """Send a message's text; returns when there is room for another. `place`: of a stream, behind the message.

        Raises:
            ClientGone: nobody is there any more, or is parted with.
            RequestError: OVERLOADED, the listener may hold no more of a large one.
        """
        await self._send(message, WSMsgType.TEXT, place)

    async def hear(self, take: Callable[[str], Awaitable[None]], refuse: Callable[[], Awaitable[None]]) -> None:
        """Have each text taken, and each binary frame refused, until the client closes or is parted with."""
        try:
            async with asyncio.timeout(None) as self._hearing:
                while await self._one(await self._next(), take, refuse):
                    pass
        except TimeoutError:
            if self.goodbye is None:
                raise
        except ClientGone:
            return
        finally:
            self._hearing = None
            self._let_go()

    def came(self, n_bytes: int) -> None:
        """So many bytes came. Until the message they belong to is heard, they are held."""
        if self._hearing is None:
            return
        self._heard_s = self._loop.time()
        try:
            self._budget.take_bytes(n_bytes)
        except RequestError as error:
            self.part(self.codes.overloaded, error.message)
            return
        self._unheard_since_s = self._unheard_since_s if self._unheard else self._heard_s
        self._unheard += n_bytes

    def part(self, code: int, words: str) -> None:
        """End it: whoever hears stops hearing, and `close` says so. The first reason counts."""
        if self.goodbye is None:
            self.goodbye = Goodbye(code, words)
            if self._hearing is not None:
                self._hearing.reschedule(self._loop.time())

    async def beat(self) -> None:
        """Ping, and part with a client that answers none. While a write is stuck its deadline decides."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if self._stuck:
                continue
            now_s = self._loop.time()
            if now_s - self._heard_s > 2 * HEARTBEAT_S:
                self.part(self.codes.silent, f"no word for {2 * HEARTBEAT_S:g} s")
            elif self._unheard and now_s - self._unheard_since_s > MESSAGE_WITHIN_S:
                self.part(self.codes.slow, f"a message took longer than {MESSAGE_WITHIN_S:g} s")
            await self._send(b"", WSMsgType.PING)

    async def close(self) -> None:
        """Say goodbye if this side ends it, and leave nothing behind that waits for a client that does not read."""
        if self.goodbye is not None:
            await self._socket.close(code=self.goodbye.code, message=self._last_words(self.goodbye), drain=False)
        if self._transport.get_write_buffer_size():
            self._transport.abort()

    def _last_words(self, goodbye: Goodbye) -> bytes:
        if self.place is not None and goodbye.code in (self.codes.slow, self.codes.draining):
            return Goodbye(goodbye.code, "resume {} {}".format(*self.place)).message
        return goodbye.message

    async def _next(self) -> WSMessage:
        message = await self._socket.receive()
        self._let_go()
        return message

    def _let_go(self) -> None:
        self._budget.give_bytes(self._unheard)
        self._unheard = 0

    async def _one(
        self, message: WSMessage, take: Callable[[str], Awaitable[None]], refuse: Callable[[], Awaitable[None]]
    ) -> bool:
        """Whether there may be more."""
        match message.type:
            case WSMsgType.TEXT:
                await take(message.data)
            case WSMsgType.BINARY:
                await refuse()
            case WSMsgType.PING:
                await self._send(message.data, WSMsgType.PONG)
            case WSMsgType.PONG:
                pass
            case WSMsgType.CLOSE:
                self.closed = True
                await answer_close(self._socket, message.data)
                return False
            case _:
                self.broken = message.type is WSMsgType.ERROR
                return False
        return True

    async def _send(self, data: bytes, kind: WSMsgType, place: tuple[str, str] | None = None) -> None:
        """Into an empty buffer nothing waits, and nothing needs to be counted or timed."""
        small = len(data) <= NEVER_WAITS_BYTES
        if small and not self._transport.get_write_buffer_size():
            await self._frame(data, kind, place)
            return
        count = self._budget.count_bytes if small else self._budget.take_bytes
        count(len(data))
        try:
            async with self._turn:
                await self._in_time(data, kind, place)
        finally:
            self._budget.give_bytes(len(data))

    async def _in_time(self, data: bytes, kind: WSMsgType, place: tuple[str, str] | None) -> None:
        self._stuck = True
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self._frame(data, kind, place)
        except TimeoutError:
            self.part(self.codes.slow, f"nothing was taken for {SEND_WITHIN_S:g} s")
            raise ClientStalled("the client takes nothing") from None
        finally:
            self._stuck = False

    async def _frame(self, data: bytes, kind: WSMsgType, place: tuple[str, str] | None) -> None:
        """Written at once: what waits then, and may be cancelled, is for room."""
        if self.goodbye is not None or self._transport.is_closing():
            raise ClientGone("the connection ends")
        self.place = place or self.place
        try:
            await self._socket.send_frame(data, kind)
        except ConnectionError as error:
            raise ClientGone(f"the client is gone: {error}") from error
