"""Clients of streams: so many at once, each token's time from the engine's saying it to its arrival here.

`python -m benchmarks.streams.readers '{"url": …}'` prints an `Outcome` as JSON. One further client may stop reading for
a while. Any stream but a whole one ends it with an error, that one's excepted: a figure over broken streams is none.
"""

import asyncio
import json
import re
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

STAMP = re.compile(rb'"content":" (\d+) ')
DONE = b"data: [DONE]"
TAIL_BYTES = 64  # more than a stamp with its mark, less than the shortest event
SMALL_BUFFER = 4096
CATCH_UP_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who reads what.

    Attributes:
        streams: how many, of `tokens` each, begun one after the other within `ramp_s`.
        stalled: the model that a further client reads, which reads nothing from `stall_at_s` to `wake_at_s`.
        phases: bounds in seconds from the start; what came between two of them is told apart.
    """

    url: str
    key: str
    model: str
    streams: int
    tokens: int
    ramp_s: float
    phases: list[float]
    stalled: str | None = None
    stall_at_s: float = 0.0
    wake_at_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Tokens that came in a span of time; from the engine to here, in milliseconds."""

    tokens: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All phases, and what became of the client that stalled."""

    phases: list[Phase]
    stalled: dict[str, Any] = field(default_factory=dict)


class Stream(asyncio.Protocol):
    """One client's connection. `latencies`: of all clients, with the time of arrival, in nanoseconds."""

    def __init__(self, request: bytes, latencies: list[tuple[int, int]]) -> None:
        self._request = request
        self._latencies = latencies
        self._tail = b""
        self.head = b""
        self.tokens = 0
        self.ended = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] - a stream's is one
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.head = self.head or data[:400]
        data = self._tail + data
        end = 0
        for found in STAMP.finditer(data):
            self.tokens += 1
            self._latencies.append((now, now - int(found[1])))
            end = found.end()
        self.ended = self.ended or DONE in data
        self._tail = data[max(end, len(data) - TAIL_BYTES) :]
        if self.ended and self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class's signature
        if not self.over.done():
            self.over.set_result(None)


def request_bytes(plan: Plan, model: str) -> bytes:
    asked = {
        "model": model,
        "messages": [{"role": "user", "content": "What time is it?"}],
        "max_tokens": plan.tokens,
        "stream": True,
        # What ours asks for by itself: so the model server has the same work, whoever relays.
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    body = json.dumps(asked).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {plan.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read(plan: Plan) -> Outcome:
    """All of it."""
    address = urlsplit(plan.url)
    latencies: list[tuple[int, int]] = []
    began = time.monotonic_ns()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        stuck = group.create_task(stall(plan)) if plan.stalled else None
        streams: list[Stream] = []
        for number in range(plan.streams):
            await asyncio.sleep(max(0.0, plan.ramp_s * number / plan.streams - (time.monotonic_ns() - began) / 1e9))
            request = request_bytes(plan, plan.model)
            _, stream = await loop.create_connection(
                lambda request=request: Stream(request, latencies), address.hostname, address.port
            )
            streams.append(stream)
        for stream in streams:
            await stream.over
            if not stream.ended or stream.tokens != plan.tokens:
                raise ValueError(f"{stream.tokens} of {plan.tokens} tokens; {stream.head!r}")
    bounds = [began + int(bound * 1e9) for bound in plan.phases]
    phases = [phase(latencies, *span) for span in pairwise(bounds)]
    return Outcome(phases=phases, stalled=stuck.result() if stuck else {})


async def stall(plan: Plan) -> dict[str, Any]:
    """The client that stops reading; what it got."""
    address = urlsplit(plan.url)
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    sock.setblocking(False)
    await loop.sock_connect(sock, (address.hostname, address.port))
    request = request_bytes(plan, plan.stalled or plan.model)
    transport, stream = await loop.create_connection(lambda: Stream(request, []), sock=sock)
    await asyncio.sleep(plan.stall_at_s)
    transport.pause_reading()
    before = stream.tokens
    await asyncio.sleep(plan.wake_at_s - plan.stall_at_s)
    if not transport.is_closing():
        transport.resume_reading()
    async with asyncio.timeout(CATCH_UP_S):
        await stream.over
    return {"tokens_before": before, "tokens": stream.tokens, "asked": plan.tokens, "whole": stream.ended}


def phase(latencies: list[tuple[int, int]], since: int, until: int) -> Phase:
    """Those that came in between."""
    ordered = sorted(latency / 1e6 for at, latency in latencies if since <= at < until)
    if not ordered:
        return Phase(tokens=0, p50_ms=0.0, p99_ms=0.0, max_ms=0.0)
    return Phase(
        tokens=len(ordered),
        p50_ms=ordered[len(ordered) // 2],
        p99_ms=ordered[int(len(ordered) * 0.99)],
        max_ms=ordered[-1],
    )


def main(plan: Plan) -> None:
    try:
        print(json.dumps(asdict(asyncio.run(read(plan)))))
    except* (ValueError, OSError) as failures:  # TimeoutError is an OSError
        sys.exit(f"{plan.url}: {failures.exceptions[0]}")


if __name__ == "__main__":
    main(Plan(**json.loads(sys.argv[1])))
