"""Model servers that do what a test tells them, on loopback sockets, and what they say."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def chunk(text: str | None = None, *, finish: str | None = None, index: int = 0) -> bytes:
    delta = {} if text is None else {"content": text}
    return event({"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]})


def usage_chunk(tokens_in: int, tokens_out: int) -> bytes:
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    return event({"id": "c", "choices": [], "usage": usage})


def event(data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
WHOLE = {
    "id": "c",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
}
SPOKEN = [chunk("a"), chunk("b"), chunk(finish="stop"), usage_chunk(7, 2), DONE]


@dataclass
class Seen:
    """One request as the upstream saw it."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class Upstream:
    """A model server that does what it is told. `cut` is set when a client went away under it."""

    id: str
    answer: Answer
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(Seen(request.path, dict(request.headers), body))
        self.arrived.set()
        try:
            return await self.answer(request)
        except (asyncio.CancelledError, ConnectionError):
            self.cut.set()
            raise

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Upstream"]:
        app = web.Application()
        app.router.add_post("/{path:.*}", self.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = "http://{}:{}".format(*runner.addresses[0][:2])
            yield self
        finally:
            await runner.cleanup()


def says(*pieces: bytes, pause_s: float = 0.0, content_type: str = "text/event-stream") -> Answer:
    """Stream the pieces, one write each, and end cleanly."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(pause_s)
        return response

    return answer


def says_then(*pieces: bytes, then: Callable[[web.Request], Awaitable[None]], pause_s: float = 0.0) -> Answer:
    """Stream the pieces, then do something to the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(pause_s)
        await asyncio.sleep(0.05)  # so that what was written left before
        await then(request)
        return response

    return answer


async def reset(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


async def stall(_: web.Request) -> None:
    await asyncio.sleep(60)


def replies(
    status: int = 200, body: object = WHOLE, *, headers: Mapping[str, str] | None = None, raw: bytes | None = None
) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        data = json.dumps(body).encode() if raw is None else raw
        return web.Response(status=status, body=data, content_type="application/json", headers=headers)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """The first answer to the first request, and so on; the last one to all that follow."""
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return answer


async def freeze(request: web.Request) -> web.StreamResponse:
    await stall(request)
    raise AssertionError("thawed")


async def drop(request: web.Request) -> web.StreamResponse:
    await reset(request)
    return web.Response()
