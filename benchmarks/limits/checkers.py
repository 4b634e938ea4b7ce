"""Gateways that ask over kept-alive connections, each again as soon as it is answered, until all is asked.

`python -m benchmarks.limits.checkers '{"url": …}'` reads one JSON body a line from `bodies`, writes what was answered
to `answers` likewise, and prints an outcome. It is as cheap as asyncio can be, so that it is not what is measured: of a
head it reads no more than status and length. Any other status than 200 ends it.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where to ask, as whom, over how many connections."""

    url: str
    key: str
    connections: int
    bodies: str
    answers: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came back. Latencies in milliseconds."""

    requests: int
    wall_s: float
    p50_ms: float
    p99_ms: float


@dataclass
class Results:
    """Shared by the connections."""

    requests: Iterator[bytes]
    done: asyncio.Event = field(default_factory=asyncio.Event)
    open: int = 0
    answers: list[bytes] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    failure: str | None = None

    def fail(self, words: str) -> None:
        self.failure = self.failure or words
        self.done.set()


class Connection(asyncio.Protocol):
    """Asks one thing after the other."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._heard = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._results.open += 1
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._results.open -= 1
        if self._began:
            self._results.fail(f"the connection ended before the answer: {exc}")
        elif not self._results.open:
            self._results.done.set()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        end = self._heard.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._heard[:end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self._heard) < end + 4 + length:
            return
        body, self._heard = self._heard[end + 4 :], b""
        if not head.startswith(b"http/1.1 200"):
            self._results.fail(f"{head[:40]!r} {body[:300]!r}")
            return
        self._results.latencies_s.append(time.perf_counter() - self._began)
        self._results.answers.append(body)
        self._ask()

    def _ask(self) -> None:
        request = next(self._results.requests, None)
        if request is None:
            self._began = 0.0
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)


def requests(plan: Plan) -> list[bytes]:
    """As they go over the wire."""
    made = []
    for line in Path(plan.bodies).read_bytes().splitlines():
        head = (
            f"POST {urlsplit(plan.url).path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {plan.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(line)}\r\n\r\n"
        )
        made.append(head.encode() + line)
    return made


async def run(plan: Plan) -> tuple[Outcome, list[bytes]]:
    """Ask everything."""
    address, results = urlsplit(plan.url), Results(iter(requests(plan)))
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    async with asyncio.timeout(TIMEOUT_S):
        for _ in range(plan.connections):
            await loop.create_connection(lambda: Connection(results), address.hostname or "", address.port or 80)
        await results.done.wait()
    wall_s = time.perf_counter() - began
    if results.failure:
        raise ValueError(results.failure)
    ordered = sorted(results.latencies_s)
    outcome = Outcome(
        requests=len(ordered),
        wall_s=wall_s,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
    )
    return outcome, results.answers


def main(plan: Plan) -> None:
    try:
        outcome, answers = asyncio.run(run(plan))
    except (ValueError, OSError, TimeoutError) as error:
        sys.exit(f"{plan.url}: {error}")
    Path(plan.answers).write_bytes(b"\n".join(answers))
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main(Plan(**json.loads(sys.argv[1])))
