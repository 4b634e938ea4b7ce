"""Answers in parts: `multipart/mixed` as GraphQL's incremental delivery has it, `pending`, `incremental`, `completed`.

Each part is closed by its boundary at once, so that a client can read it before the next is there. In a silence a part
that says nothing but `hasNext` goes out: whoever is in between keeps the connection open.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec
from aiohttp import web

from citadel_edge.groups import plain_group
from citadel_edge.listeners.common.leaving import ended_by_us
from citadel_edge.listeners.common.routes import PASSAGE
from citadel_edge.listeners.common.sink import HttpSink
from citadel_edge.listeners.graphql.service import error_payload

HEARTBEAT_S: Final = 13.0
LAST_WORDS_S: Final = 0.5
CONTENT_TYPE: Final = 'multipart/mixed; boundary="-"; incrementalSpec=v0.2'
_OPEN: Final = b"\r\n---"
_HEAD: Final = b"\r\nContent-Type: application/json; charset=utf-8\r\n\r\n"
_CLOSE: Final = b"--\r\n"
_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_STILL: Final = {"hasNext": True}
_ENCODER: Final = msgspec.json.Encoder()


async def answer_in_parts(request: web.Request, parts: AsyncGenerator[Mapping[str, Any], None]) -> web.StreamResponse:
    """Send the parts as they come; the last has `hasNext` false. A client that leaves ends them."""
    sink = HttpSink(request)
    try:
        async with aclosing(parts):
            await _send_all(sink, parts)
    except asyncio.CancelledError as error:
        await _end(sink, error, request[PASSAGE].request_id)
    if sink.response is None:
        raise RuntimeError("an answer in parts had none")
    return sink.response


async def _send_all(sink: HttpSink, parts: AsyncGenerator[Mapping[str, Any], None]) -> None:
    first = await anext(parts)
    await sink.begin(200, CONTENT_TYPE, _HEADERS)
    turn = asyncio.Lock()
    await _say(sink, first, turn, begin=_OPEN)
    async with plain_group() as group:
        beat = group.create_task(_beat(sink, turn), name="multipart heartbeat")
        try:
            async for part in parts:
                await _say(sink, part, turn)
        finally:
            beat.cancel()
    await sink.write(_CLOSE)
    await sink.finish()


async def _say(sink: HttpSink, part: Mapping[str, Any], turn: asyncio.Lock, *, begin: bytes = b"") -> None:
    async with turn:
        await sink.write(begin + _HEAD + _ENCODER.encode(part) + _OPEN)


async def _beat(sink: HttpSink, turn: asyncio.Lock) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        await _say(sink, _STILL, turn)


async def _end(sink: HttpSink, error: asyncio.CancelledError, request_id: str) -> None:
    """An answer that we end ourselves gets a last word; one whose client left is left alone."""
    ended = ended_by_us(error)
    if sink.response is None:
        raise ended
    try:
        async with asyncio.timeout(LAST_WORDS_S):
            last = {**error_payload(ended, request_id), "hasNext": False}
            await sink.write(_HEAD + _ENCODER.encode(last) + _OPEN + _CLOSE)
            await sink.finish()
    except (TimeoutError, ConnectionError):
        raise error from None
