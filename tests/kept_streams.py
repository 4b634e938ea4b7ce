"""A client of streams that outlive the process they were begun in."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from processes import EdgeProcess

STREAMING = "streaming-api"


@dataclass
class Heard:
    """What one client has of a stream."""

    body: dict[str, Any]
    id: str = ""
    cursor: str = ""
    pieces: list[str] = field(default_factory=list)
    end: tuple[str, dict[str, Any]] | None = None
    recovered: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def take(self, block: str) -> None:
        """One event."""
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        name, data = fields.get("event"), json.loads(fields["data"]) if "data" in fields else None
        if name == "recovered":
            self.recovered.append(data["recovered"])
        elif name is not None and name != "moved":
            self.end = name, data
        elif name is None and data is not None:
            self.pieces += [choice["delta"].get("content") or "" for choice in data["choices"]]
            self.cursor = fields["id"]


@dataclass
class Service:
    """An edge in a process of its own, and its client."""

    edge: EdgeProcess
    client: aiohttp.ClientSession

    async def begin(self, body: dict[str, Any]) -> Heard:
        heard = Heard(body)
        url = self.edge.url("/v1/streams", STREAMING)
        async with self.client.post(url, json=body, headers=self.edge.headers()) as answer:
            assert answer.status == 201, await answer.text()
            heard.id = (await answer.json())["id"]
        return heard

    async def read(self, heard: Heard) -> None:
        """Read on until the end, or until the connection breaks."""
        url = self.edge.url(f"/v1/streams/{heard.id}/events", STREAMING)
        headers = self.edge.headers() | ({"Last-Event-ID": heard.cursor} if heard.cursor else {})
        async with self.client.get(url, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            rest = ""
            async for data in answer.content.iter_any():
                *blocks, rest = (rest + data.decode()).replace(": ping\n", "").split("\n\n")
                for block in blocks:
                    heard.take(block)

    async def read_to_the_end(self, heard: Heard) -> None:
        """Come back with the last cursor as often as need be."""
        while heard.end is None:
            try:
                await self.read(heard)
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(0.1)

    async def taken(self, user: str) -> int:
        """Tokens that the limits have counted for the user today."""
        url = self.edge.url(f"/v1/users/{user}/quota", "rate-limiting-api")
        async with self.client.get(url, headers=self.edge.headers("admin_key")) as answer:
            limits = {one["name"]: one for one in (await answer.json())["limits"]}
        return int(limits["tokens_per_day"]["limit"] - limits["tokens_per_day"]["remaining"])


@asynccontextmanager
async def service(edge: EdgeProcess) -> AsyncIterator[Service]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        edge.start()
        try:
            await edge.panel()
            yield Service(edge, client)
            assert await edge.stop() == 0
        finally:
            edge.kill()
