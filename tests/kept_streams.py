"""Streams that outlive the process they were begun in: a client that comes back, and what the service may be asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from citadel_edge.config.shape import ListenerName
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import Simulator, running
from citadel_edge.simulator.timing import Timing
from edges import Served
from processes import EdgeProcess
from servers import Postgres

STREAMING = "streaming-api"
MODEL = "sim-model"
SLOW = SimulatorOptions(timing=Timing(first_token_ms=50, decode_ms=25), shortest=60, longest=90, slots=64)
QUICK = replace(SLOW, timing=Timing())
"""Says the same."""


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
class Client:
    """Somebody with a key at one instance.

    Attributes:
        url: the address of a path at a listener.
    """

    url: Callable[[str, str], str]
    http: aiohttp.ClientSession
    keys: dict[str, str]

    def headers(self, key: str = "demo_key") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[key]}"}

    async def begin(self, body: dict[str, Any]) -> Heard:
        heard = Heard(body)
        url = self.url("/v1/streams", STREAMING)
        async with self.http.post(url, json=body, headers=self.headers()) as answer:
            assert answer.status == 201, await answer.text()
            heard.id = (await answer.json())["id"]
        return heard

    async def read(self, heard: Heard) -> None:
        """Read on until the end, or until the connection breaks."""
        url = self.url(f"/v1/streams/{heard.id}/events", STREAMING)
        headers = self.headers() | ({"Last-Event-ID": heard.cursor} if heard.cursor else {})
        async with self.http.get(url, headers=headers) as answer:
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

    async def stop(self, heard: Heard) -> dict[str, Any]:
        """Stop it; what that saved."""
        url = self.url(f"/v1/streams/{heard.id}", STREAMING)
        async with self.http.delete(url, headers=self.headers()) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def taken(self, user: str) -> int:
        """Tokens that the limits have counted for the user today."""
        url = self.url(f"/v1/users/{user}/quota", "rate-limiting-api")
        async with self.http.get(url, headers=self.headers("admin_key")) as answer:
            limits = {one["name"]: one for one in (await answer.json())["limits"]}
        return int(limits["tokens_per_day"]["limit"] - limits["tokens_per_day"]["remaining"])


@dataclass(frozen=True)
class Account:
    """What the service says of all that was made, once it has written so many rows."""

    outcomes: list[str]
    tokens: int
    taken: int


async def account(client: Client, postgres: Postgres, dsn: str, expected: int) -> Account:
    """Rows come and reservations are settled within moments; what does not come is for the test to see."""
    sql = "SELECT user_id, outcome, tokens_in + tokens_out FROM usage_events"
    database = dsn.partition("?")[0].rpartition("/")[2]
    for _ in range(100):
        lines = (await asyncio.to_thread(postgres.run, sql, database)).splitlines()
        rows = [line.split("|") for line in lines]
        if rows:
            tokens, taken = sum(int(row[2]) for row in rows), await client.taken(rows[0][0])
            if len(rows) >= expected and taken == tokens:
                break
        await asyncio.sleep(0.1)
    assert rows
    return Account([row[1] for row in rows], tokens, taken)


async def check_each_is_whole_once(streams: list[Heard], found: Account) -> None:
    """Each text is all that the model says to its request, with one row and one charge."""
    async with running(QUICK) as simulator, aiohttp.ClientSession() as http:
        texts = await asyncio.gather(*(_whole(http, simulator, one.body) for one in streams))
    assert [one.text for one in streams] == texts
    assert {one.end[0] if one.end else None for one in streams} == {"done"}
    assert found.outcomes == ["done"] * len(streams)
    assert found.taken == found.tokens


async def _whole(http: aiohttp.ClientSession, simulator: Simulator, body: dict[str, Any]) -> str:
    async with http.post(f"{simulator.url}/v1/chat/completions", json=body) as answer:
        return str((await answer.json())["choices"][0]["message"]["content"])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it; the test's own time bounds that."""
    while not condition():
        await asyncio.sleep(0.01)


def client_of(served: Served) -> Client:
    """At an instance in this process."""
    keys = {"demo_key": served.keys.demo_key, "admin_key": served.keys.admin_key}
    return Client(lambda path, listener: served.url(path, ListenerName(listener)), served.client, keys)


@asynccontextmanager
async def started(edge: EdgeProcess, keys: dict[str, str] | None = None) -> AsyncIterator[Client]:
    """An edge in a process of its own; stopped in good order, if it still runs. `keys`, if others made the accounts."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        edge.start()
        try:
            await edge.panel()
            yield Client(edge.url, http, keys or edge.keys)
            if edge.runs:
                assert await edge.stop() == 0
        finally:
            edge.kill()


TIER: dict[str, Any] = {"name": "free", "concurrent": 100, "tokens_per_day": 10**6, "requests_per_minute": 10**4}


def config(simulators: Sequence[Simulator], *, dsn: str, redis: str, **more: Any) -> dict[str, Any]:
    """Of a process whose upstreams are these."""
    upstreams = [{"id": f"sim-{n}", "url": sim.url, "engine": "vllm"} for n, sim in enumerate(simulators)]
    return {
        "environment": "test",
        "redis": {"url": redis, "deadline_ms": 500},
        "postgres": {"dsn": dsn},
        "upstreams": upstreams,
        "models": [{"name": MODEL, "deployments": [{"upstream": one["id"]} for one in upstreams]}],
        "routing": {"probe_interval_s": 0.2},
        "tiers": [TIER],
        **more,
    }


def asked(number: int) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": f"Tell me story number {number}."}]}
