"""One client's side of graphql-transport-ws: it says who it is, then has operations run, many at once.

Decides which messages are taken when, and with which code a client that does not keep to the protocol is parted with.
Refuses to know what operations do, and how messages travel.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.principal import Principal
from citadel_edge.errors import Code, DependencyError, RequestError
from citadel_edge.graph.answers import Refused
from citadel_edge.graph.wanted import Wanted
from citadel_edge.listeners.common.problems import as_request_error, internal_error
from citadel_edge.listeners.common.sink import ClientGone
from citadel_edge.listeners.common.websocket.line import Line
from citadel_edge.listeners.graphql.service import Caller, Service, error_payload
from citadel_edge.listeners.graphql.websocket.closing import Close
from citadel_edge.listeners.graphql.websocket.messages import (
    Ack,
    BadMessage,
    Complete,
    Error,
    Init,
    Next,
    Ping,
    Pong,
    Said,
    Subscribe,
    encode,
    read,
)

MAX_OPERATIONS: Final = 100
LetIn = Callable[[dict[str, Any]], Awaitable[Principal]]
AsNow = Callable[[Principal], Awaitable[Principal]]
CallerOf = Callable[[Principal], Caller]


class Spawn(Protocol):
    """Starts a task whose end the connection waits for."""

    def __call__(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """The running task."""


@dataclass(slots=True, eq=False)
class _Operation:
    id: str
    task: asyncio.Task[None] | None = None


class Conversation:
    """With one client.

    Args:
        line: to it.
        service: what runs operations.
        let_in: who it is, from the payload of its `connection_init`; RequestError when it may not come in.
        as_now: the same caller, as each operation is judged; ClientGone when it may nothing any more.
        caller: of one operation.
        spawn: whose tasks operations are.
        closed: whether nothing new begins any more.
        log: for operations, and for what nobody foresaw.

    Attributes:
        begun: it has said who it is, or is being asked in.
    """

    def __init__(
        self,
        line: Line,
        service: Service,
        *,
        let_in: LetIn,
        as_now: AsNow,
        caller: CallerOf,
        spawn: Spawn,
        closed: Callable[[], bool],
        log: FilteringBoundLogger,
    ) -> None:
        self.begun = False
        self._line = line
        self._service = service
        self._let_in = let_in
        self._as_now = as_now
        self._caller = caller
        self._spawn = spawn
        self._closed = closed
        self._log = log
        self._principal: Principal | None = None
        self._running: dict[str, _Operation] = {}
        self._alive = 0
        self._leaving = False
        self._ended = asyncio.Event()

    async def take(self, text: str) -> None:
        """Do what a message asks. Raises ClientGone."""
        if self._line.goodbye is not None:
            return
        try:
            asked = read(text)
        except BadMessage as error:
            self._line.part(Close.BAD_REQUEST, str(error))
            return
        match asked:
            case Init():
                await self._init(asked)
            case Ping():
                await self._say(Pong() if asked.payload is None else Pong(asked.payload))
            case Subscribe():
                await self._subscribe(asked)
            case Complete():
                self._complete(asked.id)

    async def refuse(self) -> None:
        """A frame that cannot hold a message."""
        self._line.part(Close.BAD_REQUEST, "Invalid message: a binary frame")

    async def idle(self) -> None:
        """Return when no operation runs any more."""
        while self._running:
            self._ended.clear()
            await self._ended.wait()

    def stop(self) -> None:
        """End all of it."""
        for operation in self._running.values():
            if operation.task is not None:
                operation.task.cancel()

    async def _init(self, asked: Init) -> None:
        if self.begun:
            self._line.part(Close.TOO_MANY_INITIALISATIONS, "Too many initialisation requests")
            return
        self.begun = True
        try:
            self._principal = await self._let_in(asked.payload or {})
        except (RequestError, DependencyError) as error:
            told = as_request_error(error) or internal_error()
            forbidden = told.code.status in (Code.INVALID_API_KEY.status, Code.FORBIDDEN.status)
            self._line.part(Close.FORBIDDEN if forbidden else Close.OVERLOADED, told.message)
            return
        await self._say(Ack())

    async def _subscribe(self, asked: Subscribe) -> None:
        if self._principal is None:
            self._line.part(Close.UNAUTHORIZED, "Unauthorized")
        elif asked.id in self._running:
            self._line.part(Close.SUBSCRIBER_EXISTS, f"Subscriber for {asked.id} already exists")
        elif (refusal := self._refusal()) is not None:
            await self._say_error(asked.id, refusal, self._caller(self._principal))
        else:
            operation = self._running[asked.id] = _Operation(asked.id)
            work = self._run(asked.id, asked.payload, self._caller(self._principal))
            operation.task = self._spawn(work, name="ws operation")
            self._alive += 1
            operation.task.add_done_callback(lambda _: self._over(operation))

    def _refusal(self) -> RequestError | None:
        """Why nothing begins now. Operations that were ended count until they are really over."""
        if self._closed():
            words = "this listener takes nothing new; connect anew in a moment"
            return RequestError(Code.LISTENER_STOPPED, words, retry_after_s=5)
        if self._alive >= MAX_OPERATIONS:
            return RequestError(Code.OVERLOADED, f"at most {MAX_OPERATIONS} operations run on one connection")
        return None

    def _complete(self, identity: str) -> None:
        """The client wants no more of it; it may use the id again at once."""
        operation = self._running.pop(identity, None)
        if operation is not None and operation.task is not None:
            operation.task.cancel()

    def _over(self, operation: _Operation) -> None:
        """Also one that was ended before its first step."""
        self._alive -= 1
        if self._running.get(operation.id) is operation:
            del self._running[operation.id]
        self._ended.set()
        if self._leaving and not self._running:
            self._line.part(Close.GOING_AWAY, "draining")

    async def _run(self, identity: str, wanted: Wanted, caller: Caller) -> None:
        try:
            caller = replace(caller, principal=await self._as_now(caller.principal))
            await self._answer(identity, wanted, caller)
        except ClientGone:
            return
        except RequestError as error:
            await self._say_error(identity, error, caller)
        except Exception:
            self._log.exception("unhandled", request_id=caller.request_id)
            self._line.part(Close.INTERNAL, "Internal server error")
        finally:
            self._log.info("operation", **caller.line)

    async def _say_error(self, identity: str, error: RequestError, caller: Caller) -> None:
        with suppress(ClientGone):
            await self._say(Error(identity, error_payload(error, caller.request_id)["errors"]))

    async def _answer(self, identity: str, wanted: Wanted, caller: Caller) -> None:
        """All words of one operation, with its last: `complete`, or an `error`.

        One that another process is to have done again has no last word: it ends with the connection, and the client
        begins it anew. What else runs may end before.
        """
        try:
            prepared = await self._service.prepare(wanted, caller)
        except Refused as refused:
            await self._say(Error(identity, refused.named(caller.request_id)))
            return
        async with aclosing(self._service.words(prepared, caller)) as words:
            async for word in words:
                if word.elsewhere and self._closed():
                    self._leaving = True
                    return
                if word.status >= Code.INVALID_REQUEST.status:
                    await self._say(Error(identity, word.payload["errors"]))
                    return
                await self._say(Next(identity, word.payload))
        await self._say(Complete(identity))

    async def _say(self, message: Said) -> None:
        await self._line.send(encode(message))
