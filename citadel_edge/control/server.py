"""The process's end of the control socket: who may speak, how much, and in which words it is answered.

Refuses to know what a command does: that is the `Controls` it is given. A peer that says nothing, reads nothing or says
too much is let go.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import ListenerName
from citadel_edge.control import address
from citadel_edge.control.protocol import (
    MAX_LINE_BYTES,
    Command,
    ControlError,
    Request,
    decode_request,
    encode,
    refusal,
)
from citadel_edge.errors import CitadelError

BACKLOG = 32
ACCEPT_PAUSE_S = 1.0
TURN_AWAY_S = 1.0


class Controls(Protocol):
    """What the process lets itself be told. A `CitadelError` is a refusal in its own words."""

    async def status(self) -> Mapping[str, Any]:
        """The whole process: version, uptime, listeners, dependencies."""
        ...

    async def start(self, name: ListenerName) -> Mapping[str, Any]:
        """Let a listener serve; one that serves stays as it is."""
        ...

    async def stop(self, name: ListenerName) -> Mapping[str, Any]:
        """Let a listener answer `listener_stopped`; one that is stopped stays so."""
        ...

    async def listener_status(self, name: ListenerName) -> Mapping[str, Any]:
        """One listener."""
        ...

    def attach(self, name: ListenerName) -> AsyncGenerator[str, None]:
        """A listener's log lines as they are written, without line ends; closed when the reader leaves."""
        ...

    async def reload(self) -> Mapping[str, Any]:
        """Read the configuration again: what was applied, what needs a restart."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a peer may ask of us. `idle_s`: silence before a request; `send_s`: an answer nobody reads."""

    connections: int = 64
    idle_s: float = 30.0
    send_s: float = 10.0


@asynccontextmanager
async def serve(
    path: Path, controls: Controls, *, group: asyncio.TaskGroup, log: FilteringBoundLogger, bounds: Bounds | None = None
) -> AsyncIterator[None]:
    """Answer on the socket at `path` until the context is left; then every connection ends and the file goes.

    Connections are tasks of `group`, which must outlive the context.

    Raises:
        StartError: the socket cannot be bound, see `address.bind`.
    """
    place = await asyncio.to_thread(address.bind, path)
    desk = _Desk(place.sock, controls, group=group, log=log, bounds=bounds or Bounds())
    try:
        place.sock.listen(BACKLOG)
        desk.open()
        yield
    finally:
        desk.close()
        place.release()
        await desk.emptied()


class _Desk:
    """The open conversations.

    Accepts by itself and without a task: asyncio's own ways lose a connection that comes while they are being closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        controls: Controls,
        *,
        group: asyncio.TaskGroup,
        log: FilteringBoundLogger,
        bounds: Bounds,
    ) -> None:
        self._sock = sock
        self._controls = controls
        self._group = group
        self._log = log
        self._bounds = bounds
        self._loop = asyncio.get_running_loop()
        self._open: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Take connections as they come."""
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        try:
            peer, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._log.warning("control connection not accepted", error=str(error))
            self._loop.remove_reader(self._sock)
            self._loop.call_later(ACCEPT_PAUSE_S, self.open)
        else:
            peer.setblocking(False)
            self._welcome(peer)

    def _welcome(self, peer: socket.socket) -> None:
        reason = self._objection(peer)
        if reason is not None and len(self._open) >= 2 * self._bounds.connections:
            peer.close()
            return
        conversation = self._converse(peer) if reason is None else self._turn_away(peer, reason)
        task = self._group.create_task(conversation, name="control connection")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    def _objection(self, peer: socket.socket) -> str | None:
        uid = address.peer_uid(peer)
        if not address.may_steer(uid, own=os.geteuid()):
            self._log.warning("control connection refused", uid=uid)
            return f"user {uid} may not steer this process: be root or user {os.geteuid()}"
        if len(self._open) >= self._bounds.connections:
            return f"{self._bounds.connections} control connections are open already; try again later"
        return None

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._sock)
        self._sock.close()

    async def emptied(self) -> None:
        """End every conversation; each has begun by then, so that each closes its own socket."""
        await asyncio.sleep(0)
        tasks = tuple(self._open)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _turn_away(self, peer: socket.socket, reason: str) -> None:
        """Say why, then listen on for a moment: a peer that is still writing would lose the answer to a reset."""
        reader, writer = await asyncio.open_unix_connection(sock=peer, limit=MAX_LINE_BYTES)
        try:
            writer.write(encode({"error": reason}))
            writer.write_eof()
            async with asyncio.timeout(TURN_AWAY_S):
                await _until_left(reader)
        except (ConnectionError, TimeoutError):
            return
        finally:
            writer.close()

    async def _converse(self, peer: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=peer, limit=MAX_LINE_BYTES)
        try:
            while (line := await self._line(reader)) and await self._answer(line, reader, writer):
                pass
        except ControlError as error:
            writer.write(encode(refusal(error)))
        except (ConnectionError, TimeoutError):
            return
        except Exception:
            self._log.exception("control connection failed")
            writer.write(encode({"error": "it failed inside the process; its log says how"}))
        finally:
            writer.close()

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._bounds.idle_s):
                return await reader.readline()
        except ValueError as error:
            raise ControlError(f"a line has at most {MAX_LINE_BYTES} bytes") from error

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one line; whether the conversation goes on."""
        try:
            request = decode_request(line)
            if request.command is Command.ATTACH and request.name is not None:
                await self._attach(request.name, reader, writer)
                return False
            answer = await self._act(request)
        except CitadelError as error:
            answer = refusal(error)
        await self._send(writer, answer)
        return True

    async def _act(self, request: Request) -> Mapping[str, Any]:
        match request:
            case Request(command=Command.STATUS):
                return await self._controls.status()
            case Request(command=Command.RELOAD):
                return await self._controls.reload()
            case Request(command=Command.START, name=ListenerName() as name):
                return await self._controls.start(name)
            case Request(command=Command.STOP, name=ListenerName() as name):
                return await self._controls.stop(name)
            case Request(command=Command.LISTENER_STATUS, name=ListenerName() as name):
                return await self._controls.listener_status(name)
        raise ControlError(f"{request.command} cannot be asked so")

    async def _attach(self, name: ListenerName, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as pair:
            pump = pair.create_task(self._pump(name, writer), name="control attach")
            gone = pair.create_task(_until_left(reader), name="control reader")
            await asyncio.wait((pump, gone), return_when=asyncio.FIRST_COMPLETED)
            pump.cancel()
            gone.cancel()

    async def _pump(self, name: ListenerName, writer: asyncio.StreamWriter) -> None:
        try:
            async with aclosing(self._controls.attach(name)) as lines:
                async for line in lines:
                    await self._send(writer, {"line": line})
        except CitadelError as error:
            await self._send(writer, refusal(error))
        except (ConnectionError, TimeoutError):
            return

    async def _send(self, writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
        writer.write(encode(answer))
        async with asyncio.timeout(self._bounds.send_s):
            await writer.drain()


async def _until_left(reader: asyncio.StreamReader) -> None:
    """Until the peer closes its end; what it says meanwhile is dropped."""
    while await reader.read(MAX_LINE_BYTES):
        pass
