"""The edges in front of the fleet: each a `citadel-edge serve` of its own, with everything on.

The first has a private Redis and PostgreSQL; further instances share them, as behind one gateway.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.faults.clients import Door
from benchmarks.faults.fleet import MODEL, SLOTS, Replica
from benchmarks.subjects import process

START_S: Final = 120.0
LISTENERS: Final = ("graphql-api", "streaming-api", "routing-api", "rate-limiting-api")


@dataclass(frozen=True, kw_only=True)
class Routing:
    """How replicas are chosen and looked at."""

    strategy: str = "adaptive"
    probe_interval_s: float = 0.5


@asynccontextmanager
async def replicas(folder: Path) -> AsyncIterator[list[Replica]]:
    """The fleet."""
    async with process(sys.executable, "-m", "benchmarks.faults.fleet", folder=folder) as child:
        if child.stdout is None:
            raise RuntimeError("started without a pipe")
        async with asyncio.timeout(START_S):
            line = await child.stdout.readline()
        yield [Replica(**each) for each in json.loads(line)]


@asynccontextmanager
async def edges(
    fleet: Sequence[Replica], folder: Path, routing: Routing, *, count: int = 1
) -> AsyncIterator[list[Door]]:
    """So many instances of one service."""
    async with AsyncExitStack() as stack:
        first = folder / "edge-0"
        doors = [await stack.enter_async_context(_edge(fleet, first, routing, {}))]
        for number in range(1, count):
            place = folder / f"edge-{number}"
            doors.append(await stack.enter_async_context(_edge(fleet, place, routing, _shared(first / "var"))))
        yield [Door(door.url, doors[0].key) for door in doors]


@asynccontextmanager
async def _edge(
    fleet: Sequence[Replica], folder: Path, routing: Routing, databases: dict[str, Any]
) -> AsyncIterator[Door]:
    port = _free_port()
    path = _written(folder, {**configuration(fleet, port, routing), **databases})
    command = (sys.executable, "-m", "citadel_edge", "serve", "--config", str(path))
    async with process(*command, folder=folder) as child, aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(START_S):
            while not await _healthy(client, url):
                if child.returncode is not None:
                    raise RuntimeError(f"the edge ended with {child.returncode}; see {folder / 'errors.log'}")
                await asyncio.sleep(0.1)
        keys = folder / "var" / "credentials.json"
        yield Door(url, json.loads(keys.read_text())["admin_key"] if keys.exists() else "")


def configuration(fleet: Sequence[Replica], port: int, routing: Routing) -> dict[str, Any]:
    """One model on all of them; the slots are what each engine says, where it says them."""
    upstreams = [
        {"id": each.id, "url": each.url, "engine": each.engine, "slots": SLOTS if each.engine == "vllm" else None}
        for each in fleet
    ]
    return {
        "data_dir": "./var",
        "listeners": {name: {"port": port if name == "routing-api" else 0} for name in LISTENERS},
        "logs": {"directory": "./logs", "format": "json"},
        "upstreams": upstreams,
        "models": [{"name": MODEL, "deployments": [{"upstream": each.id} for each in fleet], "context_tokens": 4096}],
        "routing": {"strategy": routing.strategy, "probe_interval_s": routing.probe_interval_s},
    }


def _written(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def _shared(data_dir: Path) -> dict[str, Any]:
    """The first one's databases, for another."""
    (valkey,) = data_dir.glob("**/valkey.sock")
    (postgres,) = data_dir.glob("**/.s.PGSQL.5432")
    dsn = f"postgresql://citadel@/citadel?host={postgres.parent}"
    return {"redis": {"url": f"unix://{valkey}"}, "postgres": {"dsn": dsn}}


async def _healthy(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(f"{url}/health") as answer:
            return bool((await answer.json())["status"] == "healthy")
    except aiohttp.ClientError:
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
