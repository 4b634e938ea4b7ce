"""Clients: so many connections, each asking again as soon as it is answered, until all requests are done.

`python -m benchmarks.load '{"url": …}'` prints what came back as JSON. Any answer but a whole one ends it with an
error: a figure over broken answers is none.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

END_OF_STREAM = b"data: [DONE]"
EVENT = b"data: {"
TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked, how often, by how many at once. `tokens`: of each answer."""

    url: str
    model: str
    key: str
    stream: bool
    requests: int
    connections: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came back: whole answers, their events, the wall time in seconds, latencies in milliseconds."""

    requests: int
    events: int
    wall_s: float
    p50_ms: float
    p99_ms: float


def request_bytes(plan: Plan) -> bytes:
    """One request as it goes over the wire, with a prompt of about 1 KB."""
    words = "Explain how a hummingbird stays in one place while the wind around it does not. " * 12
    asked = {
        "model": plan.model,
        "messages": [{"role": "user", "content": words}],
        "max_tokens": plan.tokens,
        "stream": plan.stream,
    }
    if plan.stream:  # what ours asks for by itself: so the model server has the same work, whoever relays
        asked["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    body = json.dumps(asked).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {plan.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """One answer's body.

    Raises:
        ValueError: another status than 200.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await _read_chunks(reader) if b"transfer-encoding: chunked" in head else await _read_sized(reader, head)
    if not head.startswith(b"http/1.1 200"):
        raise ValueError(f"{head[:40]!r} {body[:500]!r}")
    return body


async def _read_sized(reader: asyncio.StreamReader, head: bytes) -> bytes:
    return await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return b"".join(pieces)


async def client(plan: Plan, left: list[int], latencies_s: list[float]) -> int:
    """One connection's work; how many events it saw."""
    address = urlsplit(plan.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**20)
    events, request = 0, request_bytes(plan)
    while left:
        left.pop()
        began = time.perf_counter()
        writer.write(request)
        body = await read_answer(reader)
        latencies_s.append(time.perf_counter() - began)
        if plan.stream and END_OF_STREAM not in body:
            raise ValueError(f"a stream ended without its end: {body[-500:]!r}")
        events += body.count(EVENT)
    writer.close()
    await writer.wait_closed()
    return events


async def run(plan: Plan) -> Outcome:
    left, latencies_s = [0] * plan.requests, list[float]()
    began = time.perf_counter()
    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
        clients = [group.create_task(client(plan, left, latencies_s)) for _ in range(plan.connections)]
    ordered = sorted(latencies_s)
    return Outcome(
        requests=len(ordered),
        events=sum(task.result() for task in clients),
        wall_s=time.perf_counter() - began,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
    )


def main(plan: Plan) -> None:
    try:
        print(json.dumps(asdict(asyncio.run(run(plan)))))
    except* (ValueError, EOFError, OSError) as failures:
        sys.exit(f"{plan.url}: {failures.exceptions[0]}")


if __name__ == "__main__":
    main(Plan(**json.loads(sys.argv[1])))
