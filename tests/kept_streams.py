"""Streams that outlive the process they were begun in: a client that comes back, and what the service may be asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import Simulator
from citadel_edge.simulator.timing import Timing
from processes import EdgeProcess
from servers import Postgres

STREAMING = "streaming-api"
MODEL = "sim-model"
SLOW = SimulatorOptions(timing=Timing(first_token_ms=50, decode_ms=25), shortest=60, longest=90, slots=64)


@dataclass
class Heard:
    """What one client has of a stream."""

    body: dict[str, Any]
    id: str = ""
    cursor: str = ""
    pieces: list[str] = field(default_factory=list)
    end: tuple[str, dict[str, Any]] | None = None
    recovered: list[str] = field(default_factory=list)
    moved: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def take(self, block: str) -> None:
        """One event."""
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        name, data = fields.get("event"), json.loads(fields["data"]) if "data" in fields else None
        if name == "recovered":
            self.recovered.append(data["recovered"])
        elif name == "moved":
            self.moved = data["after"]
        elif name is not None:
            self.end = name, data
        elif name is None and data is not None:
            self.pieces += [choice["delta"].get("content") or "" for choice in data["choices"]]
            self.cursor = fields["id"]


@dataclass
class Service:
    """An edge in a process of its own, and its client."""

    edge: EdgeProcess
    client: aiohttp.ClientSession
    keys: dict[str, str]

    def headers(self, key: str = "demo_key") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[key]}"}

    async def begin(self, body: dict[str, Any]) -> Heard:
        heard = Heard(body)
        url = self.edge.url("/v1/streams", STREAMING)
        async with self.client.post(url, json=body, headers=self.headers()) as answer:
            assert answer.status == 201, await answer.text()
            heard.id = (await answer.json())["id"]
        return heard

    async def read(self, heard: Heard) -> None:
        """Read on until the end, or until the connection breaks."""
        url = self.edge.url(f"/v1/streams/{heard.id}/events", STREAMING)
        headers = self.headers() | ({"Last-Event-ID": heard.cursor} if heard.cursor else {})
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
        async with self.client.get(url, headers=self.headers("admin_key")) as answer:
            limits = {one["name"]: one for one in (await answer.json())["limits"]}
        return int(limits["tokens_per_day"]["limit"] - limits["tokens_per_day"]["remaining"])


@asynccontextmanager
async def service(edge: EdgeProcess, *, keys_of: EdgeProcess | None = None) -> AsyncIterator[Service]:
    """Started; `keys_of` made the accounts if it did not itself. Stopped in good order, if it still runs."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        edge.start()
        try:
            await edge.panel()
            yield Service(edge, client, (keys_of or edge).keys)
            if edge.runs:
                assert await edge.stop() == 0
        finally:
            edge.kill()


def config(upstreams: list[dict[str, Any]], *, dsn: str, redis: str, **more: Any) -> dict[str, Any]:
    return {
        "environment": "development",
        "redis": {"url": redis, "deadline_ms": 500},
        "postgres": {"dsn": dsn},
        "upstreams": upstreams,
        "models": [{"name": MODEL, "deployments": [{"upstream": one["id"]} for one in upstreams]}],
        "routing": {"probe_interval_s": 0.2},
        "tiers": [{"name": "free", "concurrent": 100, "tokens_per_day": 10**6, "requests_per_minute": 10**4}],
        **more,
    }


async def uninterrupted(client: aiohttp.ClientSession, simulator: Simulator, body: dict[str, Any]) -> str:
    """What the model says to that."""
    async with client.post(f"{simulator.url}/v1/chat/completions", json=body) as answer:
        return str((await answer.json())["choices"][0]["message"]["content"])


async def all_rows(postgres: Postgres, dsn: str, expected: int) -> list[list[str]]:
    """User, outcome and tokens of each request, once so many are there."""
    sql = "SELECT user_id, outcome, tokens_in + tokens_out FROM usage_events"
    database = dsn.partition("?")[0].rpartition("/")[2]
    for _ in range(100):
        lines = (await asyncio.to_thread(postgres.run, sql, database)).splitlines()
        if len(lines) >= expected:
            break
        await asyncio.sleep(0.1)
    return [line.split("|") for line in lines]


def asked(number: int) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": f"Tell me story number {number}."}]}
