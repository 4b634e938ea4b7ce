"""Calls to the upstreams, over aiohttp's client.

Decides how one connects: one session a process, as many connections as there are requests, kept alive for less time
than the engines keep theirs, no cookies, no redirects, no compression. Only headers that are handed in go out, with
the upstream's own key; nothing of a client's request passes by itself. Refuses to know why a call is made and what to
do when it fails.

The face is narrow on purpose (`open`, `probe`; the answer's `chunks`, `read`, `abort`), so that a faster client may
take its place.
"""

import asyncio
import math
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
)

from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.answer import UpstreamAnswer, broken
from citadel_edge.fleet.row import Row, Ticket

_KEEPALIVE_S: Final = 4.0  # uvicorn and cpp-httplib close after 5: a call must not meet a connection about to die
_READ_BUFFER: Final = 2**16
_BASE_HEADERS: Final = {"User-Agent": "citadel-edge", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimeouts:
    """How long the phases of one call may take, in seconds; the whole is bounded by whoever calls.

    `first_token_s` counts from the start of the call to a stream's first token (None: no bound of its own, as for an
    answer that comes whole, when its generation is over); `idle_s` is the longest silence afterwards.
    """

    connect_s: float
    first_token_s: float | None
    idle_s: float


class UpstreamClient:
    """The process's connections to its upstreams."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._connect = ClientTimeout(total=None)

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["UpstreamClient"]:
        """A client whose connections are closed in the end."""
        connector = TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S)
        async with ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None),
            headers=_BASE_HEADERS,
            read_bufsize=_READ_BUFFER,
            trust_env=False,
        ) as session:
            yield cls(session)

    async def open(
        self,
        row: Row,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        timeouts: CallTimeouts,
        stream: bool,
        ticket: Ticket | None = None,
    ) -> UpstreamAnswer:
        """Send the body and wait for the answer's status. Every byte that comes is noted on the row and the ticket.

        Raises:
            UpstreamError: REFUSED, CONNECT_TIMEOUT, FIRST_TOKEN_TIMEOUT, RESET or MALFORMED.
        """
        accept = "text/event-stream" if stream else "application/json"
        sent = {**headers, **_key(row), "Content-Type": "application/json", "Accept": accept}
        first_token_s = math.inf if timeouts.first_token_s is None else timeouts.first_token_s
        due = asyncio.get_running_loop().time() + first_token_s
        response = await self._send(row, path, body, headers=sent, timeouts=timeouts)
        return UpstreamAnswer(
            response, idle_s=timeouts.idle_s, first_token_due=due, seen=(row,) if ticket is None else (row, ticket)
        )

    async def _send(
        self, row: Row, path: str, body: bytes, *, headers: Mapping[str, str], timeouts: CallTimeouts
    ) -> ClientResponse:
        try:
            async with asyncio.timeout(timeouts.first_token_s):
                return await self._session.post(
                    row.url + path,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=self._within(timeouts.connect_s),
                )
        except ConnectionTimeoutError as error:
            message = f"no connection within {timeouts.connect_s:g} s"
            raise UpstreamError(UpstreamFault.CONNECT_TIMEOUT, message) from error
        except TimeoutError as error:
            raise UpstreamError(UpstreamFault.FIRST_TOKEN_TIMEOUT, "no token came in time") from error
        except (ClientError, OSError) as error:
            raise _failed(error) from error

    def _within(self, connect_s: float) -> ClientTimeout:
        if self._connect.connect != connect_s:
            self._connect = ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s)
        return self._connect

    async def probe(self, row: Row, path: str, *, timeout_s: float) -> int:
        """The status that a GET is answered with; the body is not read.

        Raises:
            UpstreamError: REFUSED, CONNECT_TIMEOUT or RESET.
        """
        status, _ = await self.fetch(row, path, timeout_s=timeout_s, limit=0)
        return status

    async def fetch(self, row: Row, path: str, *, timeout_s: float, limit: int) -> tuple[int, bytes]:
        """The status of a GET, and the first `limit` bytes of its body; the rest is not waited for.

        Raises:
            UpstreamError: REFUSED, CONNECT_TIMEOUT or RESET.
        """
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.get(row.url + path, headers=_key(row), allow_redirects=False) as response,
            ):
                return response.status, await _start(response, limit)
        except TimeoutError as error:
            raise UpstreamError(UpstreamFault.CONNECT_TIMEOUT, f"no answer within {timeout_s:g} s") from error
        except (ClientError, OSError) as error:
            raise _failed(error) from error


async def _start(response: ClientResponse, limit: int) -> bytes:
    parts: list[bytes] = []
    while limit > 0 and (part := await response.content.readany()):
        parts.append(part[:limit])
        limit -= len(part)
    return b"".join(parts)


def _key(row: Row) -> dict[str, str]:
    return {"Authorization": f"Bearer {row.api_key.get_secret_value()}"} if row.api_key else {}


def _failed(error: Exception) -> UpstreamError:
    """A call that never came to an answer."""
    if isinstance(error, ClientConnectorError):
        return UpstreamError(UpstreamFault.REFUSED, f"no connection: {_reason(error.os_error)}")
    if isinstance(error, ClientResponseError):
        return UpstreamError(UpstreamFault.MALFORMED, "it does not answer in HTTP")
    return broken(error)


def _reason(error: OSError) -> str:
    """The system's words without asyncio's, which name the address: clients are told them too."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or type(error).__name__
    return os.strerror(error.errno)
