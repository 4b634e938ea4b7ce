"""Faults as they are done to one request: before its answer, amid it, and to a whole answer's bytes."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

from aiohttp import web

from citadel_edge.simulator.dialects.base import JSON, Dialect
from citadel_edge.simulator.faults import Entry, FaultKind
from citadel_edge.simulator.out import Out
from citadel_edge.simulator.wounds import BROKEN_JSON, BROKEN_UTF8, GARBAGE, Broken, cut, reset


class Strikes:
    """Does what the faults say.

    Args:
        dialect: in whose words failures are reported.
        fall: makes the whole server unreachable, as the entry says.
    """

    def __init__(self, dialect: Dialect, fall: Callable[[Entry], None]) -> None:
        self._dialect = dialect
        self._fall = fall

    async def before(self, entry: Entry, request: web.Request) -> web.StreamResponse | None:
        """What happens before an answer: another answer, a broken connection, silence, or nothing."""
        fault = entry.fault
        if fault.kind is FaultKind.REFUSE:
            self._reset(request)
        if fault.kind is FaultKind.FREEZE:
            await hold(entry)
        if fault.kind is FaultKind.GARBAGE:
            return web.Response(body=GARBAGE, content_type="text/html")
        if fault.kind.status is not None:
            return self._failed(entry, fault.kind.status)
        return None

    async def amid(self, entry: Entry, request: web.Request, out: Out | None) -> bool:
        """What happens between two tokens; False when the answer ends with it. `out` is None without a stream."""
        kind = entry.fault.kind
        if kind is FaultKind.STALL:
            await hold(entry)
        elif kind is FaultKind.RESET:
            self._reset(request)
        elif kind is FaultKind.UNREACHABLE:
            self._fall(entry)
            raise Broken
        elif out is not None:
            return await self._amid_stream(kind, request, out)
        return True

    async def _amid_stream(self, kind: FaultKind, request: web.Request, out: Out) -> bool:
        if kind is FaultKind.CUT:
            cut(request.transport)
            raise Broken
        if kind is FaultKind.ERROR_EVENT:
            await out.write(self._dialect.error_frames())
        elif kind is FaultKind.BAD_JSON:
            await out.write(BROKEN_JSON)
        elif kind is FaultKind.INVALID_UTF8:
            await out.write(BROKEN_UTF8)
        return kind not in (FaultKind.ERROR_EVENT, FaultKind.END_EARLY)

    async def deliver(self, entry: Entry | None, request: web.Request, body: bytes) -> web.StreamResponse:
        """A whole answer, harmed when the fault is of a kind that harms bytes."""
        kind = None if entry is None else entry.fault.kind
        headers = self._dialect.headers
        half = len(body) // 2
        if kind in (FaultKind.BAD_JSON, FaultKind.END_EARLY):
            return web.Response(body=body[:half], content_type=JSON, headers=headers)
        if kind is FaultKind.INVALID_UTF8:
            return web.Response(body=body[:-1] + b',"broken":"\xc3\x28"}', content_type=JSON, headers=headers)
        if kind is FaultKind.ERROR_EVENT and entry is not None:
            return self._failed(entry, 500)
        if kind not in (FaultKind.CUT, FaultKind.TORN_UTF8):
            return web.Response(body=body, content_type=JSON, headers=headers)
        length = {"Content-Type": JSON, "Content-Length": str(len(body)), **headers}
        out = Out(request, length, torn=kind is FaultKind.TORN_UTF8, tolerant=False)
        await out.open()
        await out.write(body[:half] if kind is FaultKind.CUT else body)
        if kind is FaultKind.CUT:
            cut(request.transport)
            raise Broken
        await out.end()
        return out.response

    def _failed(self, entry: Entry, status: int) -> web.Response:
        page = self._dialect.failed(status)
        headers = dict(self._dialect.headers)
        if entry.fault.retry_after_s is not None:
            headers["Retry-After"] = f"{entry.fault.retry_after_s:g}"
        return web.Response(body=page.body, status=page.status, content_type=page.content_type, headers=headers)

    def _reset(self, request: web.Request) -> NoReturn:
        reset(request.transport)
        raise Broken


async def hold(entry: Entry) -> None:
    """Wait until the fault is deleted, or its time is over."""
    try:
        async with asyncio.timeout(entry.fault.duration_s):
            await entry.lifted.wait()
    except TimeoutError:
        return
