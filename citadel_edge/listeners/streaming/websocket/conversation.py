"""Many operations on one connection: begun by a message each, named by the client, ended one by one or all together.

Decides which ids are taken, how many run at once, and that whatever goes wrong is told while the connection lives on.
Refuses to know what operations do, and how words travel.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from msgspec import UNSET
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.principal import Principal
from citadel_edge.errors import Code, DependencyError, RequestError
from citadel_edge.listeners.common.problems import as_request_error, internal_error
from citadel_edge.listeners.common.sink import ClientGone
from citadel_edge.listeners.streaming.websocket.line import Line
from citadel_edge.listeners.streaming.websocket.messages import (
    Asked,
    Cancel,
    Done,
    Error,
    Id,
    Ping,
    Pong,
    Said,
    read,
    refusal,
)

T = TypeVar("T")
MAX_OPERATIONS: Final = 100
CallerOf = Callable[[], Awaitable[Principal]]


@dataclass(slots=True, eq=False)
class Operation:
    """One that runs.

    Attributes:
        stop: ends what it reads at its source, which ends it too; null: there is nothing to stop but itself.
        reads: it reads a stream, which a process that drains waits for.
        acknowledged: the client was told that it runs.
    """

    id: Id
    reads: bool = False
    acknowledged: bool = False
    stop: Callable[[], Awaitable[object]] | None = None
    task: asyncio.Task[None] | None = None


class Work(Protocol):
    """What an operation does. Answers its last message; RequestError becomes one."""

    def __call__(self, asked: Any, operation: Operation, /) -> Awaitable[Said]:
        """All of it."""


class Spawn(Protocol):
    """Starts a task whose end the connection waits for."""

    def __call__(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """The running task."""


class Conversation:
    """One client's operations.

    Args:
        line: to the client.
        works: what to do, by the message that asks for it.
        spawn: whose tasks they are.
        closed: whether nothing new begins any more.
        log: for what nobody foresaw.
    """

    def __init__(
        self,
        line: Line,
        works: Mapping[type, Work],
        *,
        spawn: Spawn,
        closed: Callable[[], bool],
        log: FilteringBoundLogger,
    ) -> None:
        self._line = line
        self._works = works
        self._spawn = spawn
        self._closed = closed
        self._log = log
        self._running: dict[Id, Operation] = {}
        self._ended = asyncio.Event()

    async def take(self, text: str) -> None:
        """Do what a message asks, or say why not. Raises `ClientGone`."""
        asked = read(text)
        answer = asked if isinstance(asked, Error) else await self._attempt(asked, self._do(asked))
        if answer is not None:
            await self._line.say(answer)

    async def refuse(self) -> None:
        """A frame that cannot hold a message."""
        words = RequestError(Code.INVALID_REQUEST, "messages are JSON objects in text frames; this one was binary")
        await self._line.say(refusal(None, words))

    async def idle(self) -> None:
        """Return when no stream is read any more."""
        while any(each.reads for each in self._running.values()):
            self._ended.clear()
            await self._ended.wait()

    def stop(self) -> None:
        """End all of it. What runs on without readers is the streams' own affair."""
        for operation in self._running.values():
            if operation.task is not None:
                operation.task.cancel()

    async def _do(self, asked: Asked) -> Said | None:
        """What can be answered at once; null: an operation will answer."""
        match asked:
            case Ping():
                return Pong(id=asked.id)
            case Cancel():
                return await self._cancel(asked)
            case _:
                self._start(asked)
                return None

    def _start(self, asked: Asked) -> None:
        self._demand_room(asked.id)
        operation = Operation(asked.id)
        self._running[asked.id] = operation
        name = f"ws {type(asked).__name__.lower()}"
        operation.task = self._spawn(self._run(asked, operation), name=name)

    def _demand_room(self, identity: Id) -> None:
        if self._closed():
            raise RequestError(
                Code.LISTENER_STOPPED, "this listener takes nothing new; connect anew in a moment", retry_after_s=5
            )
        if identity in self._running:
            raise RequestError(Code.CONFLICT, f"the id {str(identity)[:40]!r} is taken by a running operation")
        if len(self._running) >= MAX_OPERATIONS:
            raise RequestError(Code.OVERLOADED, f"at most {MAX_OPERATIONS} operations run on one connection")

    async def _run(self, asked: Asked, operation: Operation) -> None:
        try:
            last = await self._attempt(asked, self._works[type(asked)](asked, operation))
            if isinstance(last, Error) and operation.acknowledged and last.outcome is UNSET:
                last = replace(last, outcome="error")
        except ClientGone:
            return
        finally:
            self._forget(operation)
        with suppress(ClientGone):
            await self._line.say(last)

    async def _cancel(self, asked: Cancel) -> Said | None:
        operation = self._running.get(asked.id)
        if operation is None or operation.task is None:
            raise RequestError(Code.NOT_FOUND, f"no operation {str(asked.id)[:40]!r} is running")
        if asked.stop and operation.stop is not None:
            await operation.stop()
            return None
        operation.task.cancel()
        await asyncio.wait({operation.task})
        self._forget(operation)
        return Done(id=asked.id, outcome="cancelled")

    async def _attempt(self, asked: Asked, work: Awaitable[T]) -> T | Error:
        """What comes of it, or what a client is told of a failure; one that nobody foresaw is in the log."""
        try:
            return await work
        except ClientGone:
            raise
        except (RequestError, DependencyError) as error:
            return refusal(asked.id, as_request_error(error) or internal_error())
        except Exception:
            self._log.exception("unhandled")
            return refusal(asked.id, internal_error())

    def _forget(self, operation: Operation) -> None:
        if self._running.get(operation.id) is operation:
            del self._running[operation.id]
        self._ended.set()
