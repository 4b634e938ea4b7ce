"""The operator's end of the control socket: one question and its answer, or a stream of log lines.

Refuses to know how an answer is shown.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from citadel_edge.config.shape import ListenerName
from citadel_edge.control import address
from citadel_edge.control.protocol import (
    MAX_LINE_BYTES,
    Command,
    ControlError,
    NotRunning,
    Request,
    decode_answer,
    encode,
)

CONNECT_S = 5.0
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def request(
    path: Path, command: Command, *, name: ListenerName | None = None, timeout_s: float = 60.0
) -> dict[str, Any]:
    """Ask the process behind the socket at `path` and wait for its answer.

    Raises:
        NotRunning: nothing listens there.
        ControlError: the process refused, or did not answer within `timeout_s` seconds.
    """
    async with _connected(path) as (reader, writer):
        writer.write(encode(Request(command, name)))
        try:
            async with asyncio.timeout(timeout_s):
                return decode_answer(await _line(reader))
        except TimeoutError as error:
            raise ControlError(f"the process did not answer within {timeout_s:g} s") from error


async def attach(path: Path, name: ListenerName) -> AsyncGenerator[str, None]:
    """A listener's log lines, without line ends, until the process ends.

    Raises:
        NotRunning: nothing listens there.
        ControlError: the process refused.
    """
    async with _connected(path) as (reader, writer):
        writer.write(encode(Request(Command.ATTACH, name)))
        while line := await _line(reader, may_end=True):
            yield str(decode_answer(line).get("line", ""))


async def _line(reader: asyncio.StreamReader, *, may_end: bool = False) -> bytes:
    try:
        line = await reader.readline()
    except ConnectionError:
        line = b""
    if not line and not may_end:
        raise ControlError("the process closed the connection without an answer")
    return line


@asynccontextmanager
async def _connected(path: Path) -> AsyncIterator[Connection]:
    reader, writer = await _connect(path)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _connect(path: Path) -> Connection:
    try:
        with address.reachable(path) as reached:
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.open_unix_connection(reached, limit=16 * MAX_LINE_BYTES)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        raise NotRunning(f"no edge is running behind {path}; start it, or name its configuration") from error
    except PermissionError as error:
        raise ControlError(f"{path}: not permitted; be root or the user that the edge runs as") from error
    except TimeoutError as error:
        raise ControlError(f"{path}: the process does not accept connections") from error
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror}") from error
