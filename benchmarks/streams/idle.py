"""What thousands of readers who wait cost: memory of the edge a connection, processor a second, and one event to all.

Connections are held by a process of their own, and each kind has a fresh edge. Memory is what the edge's process has in
RAM, before and after; a few hundred connections were there and went before, so that what is made once is not counted.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.streams.holders import Plan
from benchmarks.streams.subject import Edge, edge, engines, line_of, raise_file_bound
from citadel_edge.config.shape import ListenerName

KINDS = ("sse", "websocket")
WARM_UP = 200


@dataclass(frozen=True, kw_only=True)
class Load:
    """How many connections of which kinds.

    Attributes:
        settle_s: after each change, before memory is looked at.
        idle_s: how long nothing happens but heartbeats.
        events: how many are published to all, one a second.
    """

    kinds: Sequence[str]
    connections: int
    settle_s: float
    idle_s: float
    events: int


async def measure(folder: Path, load: Load) -> dict[str, dict[str, float]]:
    """Figures by kind."""
    raise_file_bound()
    async with engines(folder) as upstreams:
        found = {}
        for kind in load.kinds:
            async with edge(upstreams, folder / kind) as ours:
                found[kind] = await one(ours, kind, load)
        return found


async def one(ours: Edge, kind: str, load: Load) -> dict[str, float]:
    """All connections of a kind."""
    async with holding(ours, kind, min(WARM_UP, load.connections)) as holders:
        await publish(ours)
        await subscribed(holders, kind)
    await asyncio.sleep(load.settle_s)
    before = ours.resident_bytes()
    async with holding(ours, kind, load.connections) as holders:
        await asyncio.sleep(load.settle_s)
        figures = {"bytes": (ours.resident_bytes() - before) / load.connections}
        used, since = ours.cpu_s(), asyncio.get_running_loop().time()
        await asyncio.sleep(load.idle_s)
        figures["idle_cpu"] = (ours.cpu_s() - used) / (asyncio.get_running_loop().time() - since)
        await subscribed(holders, kind)
        await asyncio.sleep(load.settle_s)
        figures["bytes_subscribed"] = (ours.resident_bytes() - before) / load.connections
        if (still := (await ask(holders, "open"))["open"]) != load.connections:
            raise RuntimeError(f"{load.connections - still} of {load.connections} connections were lost")
        figures |= await fan_out(ours, holders, load)
    await asyncio.sleep(load.settle_s)
    figures["left_bytes"] = (ours.resident_bytes() - before) / load.connections
    return figures


async def fan_out(ours: Edge, holders: asyncio.subprocess.Process, load: Load) -> dict[str, float]:
    """One event to all, some times over."""
    await ask(holders, "events")
    used = ours.cpu_s()
    for _ in range(load.events):
        await publish(ours)
        await asyncio.sleep(1)
    used = ours.cpu_s() - used
    came = await ask(holders, "events")
    if came["count"] != load.events * load.connections:
        raise RuntimeError(f"{came['count']} of {load.events * load.connections} events came")
    return {"event_us": used * 1e6 / came["count"], "event_p50_ms": came["p50_ms"], "event_p99_ms": came["p99_ms"]}


async def publish(ours: Edge) -> None:
    """Have something happen: a request that asks for one token, whose usage is told to all."""
    body = {"model": "paced", "max_tokens": 1, "messages": [{"role": "user", "content": "What time is it?"}]}
    url = f"{ours.urls[ListenerName.ROUTING]}/v1/chat/completions"
    headers = {"Authorization": f"Bearer {ours.key}"}
    async with aiohttp.ClientSession() as client, client.post(url, json=body, headers=headers) as answer:
        answer.raise_for_status()
        await answer.read()


@asynccontextmanager
async def holding(ours: Edge, kind: str, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """So many connections, open."""
    plan = Plan(url=ours.urls[ListenerName.STREAMING], key=ours.key, kind=kind, count=count)
    command = (sys.executable, "-m", "benchmarks.streams.holders", json.dumps(asdict(plan)))
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        if not await line_of(child):
            raise SystemExit("a connection was refused; see above")
        yield child
    finally:
        await child.communicate(b"close\n")


async def subscribed(holders: asyncio.subprocess.Process, kind: str) -> None:
    """Every WebSocket has subscribed; readers of Server-Sent Events have from the start."""
    if kind == "websocket":
        await ask(holders, "subscribe")
        await asyncio.sleep(1)


async def ask(holders: asyncio.subprocess.Process, word: str) -> dict[str, Any]:
    """Tell the holders a word; their answer."""
    if holders.stdin is None:
        raise RuntimeError("started without a pipe")
    holders.stdin.write(f"{word}\n".encode())
    await holders.stdin.drain()
    answer: dict[str, Any] = json.loads(await line_of(holders))
    return answer


def table(found: dict[str, dict[str, float]]) -> str:
    """As people read them."""
    columns = ("bytes", "subscribed", "left after", "CPU of all", "an event µs", "p50 ms", "p99 ms")
    lines = [f"{'a connection of':<16}" + "".join(f"{name:>13}" for name in columns)]
    for kind, row in found.items():
        lines.append(
            f"{kind:<16}{row['bytes']:>13.0f}{row['bytes_subscribed']:>13.0f}{row['left_bytes']:>13.0f}"
            f"{row['idle_cpu']:>13.1%}{row['event_us']:>13.1f}{row['event_p50_ms']:>13.1f}{row['event_p99_ms']:>13.1f}"
        )
    return "\n".join(lines)
