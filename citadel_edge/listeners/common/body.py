"""Reading a JSON body: so many bytes, so many seconds, and accounted to the listener while it is held."""

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web

from citadel_edge.budgets.budget import Budget
from citadel_edge.config.shape import HttpConfig
from citadel_edge.errors import Code, RequestError

JSON_TYPES = ("application/json", "")
CHARSETS = ("utf-8", "utf8", "us-ascii")
"""JSON in ASCII is JSON in UTF-8."""


class Holding:
    """What one request makes its listener hold: its body, its answer."""

    __slots__ = ("_budget", "_bytes")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def hold(self, n_bytes: int) -> None:
        """So many bytes more. RequestError OVERLOADED past the listener's `memory_mb`."""
        self._budget.take_bytes(n_bytes)
        self._bytes += n_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.give_bytes(self._bytes)


async def read_json_body(request: web.Request, bounds: HttpConfig, held: Holding) -> bytes:
    """The body's bytes. RequestError: 415 for another content type, 413 past the bound, 408 for a body that drips."""
    if not request.can_read_body:
        return b""  # of whatever type: clients name one by habit
    _check_type(request)
    limit = bounds.max_body_bytes
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    try:
        if request.content.is_eof():  # it came with its head: there is nothing to wait for
            return await _read(request, limit, held)
        async with asyncio.timeout(bounds.body_timeout_s):
            return await _read(request, limit, held)
    except TimeoutError:
        raise RequestError(
            Code.REQUEST_TIMEOUT,
            f"the body took longer than {bounds.body_timeout_s:g} s to arrive",
            headers={"Connection": "close"},
        ) from None
    except web.RequestPayloadError as error:
        raise RequestError(Code.INVALID_REQUEST, "the body is broken off or not encoded as its headers say") from error


async def _read(request: web.Request, limit: int, held: Holding) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await request.content.readany():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        held.hold(len(chunk))
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_type(request: web.Request) -> None:
    declared = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if declared not in JSON_TYPES and not declared.endswith("+json"):
        raise RequestError(
            Code.UNSUPPORTED_MEDIA_TYPE, f"Content-Type {declared!r} is not taken; send application/json"
        )
    charset = request.charset or "utf-8"  # JSON is that, where nothing else is named (RFC 8259)
    if charset.lower() not in CHARSETS:
        raise RequestError(Code.UNSUPPORTED_MEDIA_TYPE, f"charset {charset[:40]!r} is not taken; send utf-8")
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise RequestError(
            Code.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding {encoding[:40]!r} is not taken; send the body as it is"
        )


def _too_large(limit: int) -> RequestError:
    return RequestError(
        Code.BODY_TOO_LARGE, f"the body is over {limit} bytes (http.max_body_bytes)", headers={"Connection": "close"}
    )
