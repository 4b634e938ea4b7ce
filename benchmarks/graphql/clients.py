"""Clients of one server: so many connections, each asking again as soon as it is answered, until all is asked.

`python -m benchmarks.graphql.clients '{"url": …}'` prints the body of the last answer. An answer other than 200, or of
another length than the first, ends it with an error: a figure over broken answers is none.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.load import read_answer

TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked, how often, by how many at once."""

    url: str
    key: str
    text: str
    variables: Mapping[str, Any]
    requests: int
    connections: int


def request_bytes(load: Load) -> bytes:
    """One request as it goes over the wire."""
    body = json.dumps({"query": load.text, "variables": load.variables}).encode()
    head = (
        f"POST {urlsplit(load.url).path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {load.key}\r\n"
        f"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def client(load: Load, left: list[int]) -> bytes:
    """One connection's work; its last answer."""
    address = urlsplit(load.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**20)
    request, first, body = request_bytes(load), b"", b""
    while left:
        left.pop()
        writer.write(request)
        body = await read_answer(reader)
        first = first or body
        if len(body) != len(first):
            raise ValueError(f"another answer than the first: {body[:500]!r}")
    writer.close()
    await writer.wait_closed()
    return body


async def run(load: Load) -> bytes:
    left = [0] * load.requests
    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
        clients = [group.create_task(client(load, left)) for _ in range(min(load.connections, load.requests))]
    return max(task.result() for task in clients)


def main(load: Load) -> None:
    try:
        sys.stdout.write(asyncio.run(run(load)).decode())
    except* (ValueError, EOFError, OSError) as failures:
        sys.exit(f"{load.url}: {failures.exceptions[0]}")


if __name__ == "__main__":
    main(Load(**json.loads(sys.argv[1])))
