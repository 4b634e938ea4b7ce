"""CPU of a request over HTTP: our door with everything on, beside Strawberry behind aiohttp and Ariadne under uvicorn.

Each server is a process of its own on the measured processor; clients, databases and model servers have the other. What
a server used is read from the scheduler, all its threads together, before and after its share of requests. All answer
the same data, which is compared first; rounds alternate, and their median counts.
"""

import asyncio
import importlib.util
import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import cpu, subjects
from benchmarks.graphql.clients import Load
from benchmarks.graphql.questions import MODELS, NODES, TYPENAME, Question

OURS = "citadel-edge, everything on"
QUESTIONS = (NODES, MODELS, TYPENAME)
CONNECTIONS = 16
WARM_UP = 64
START_S = 120.0
PEERS = {
    "Strawberry, aiohttp, cached": ("strawberry", "strawberry_aiohttp", "cached"),
    "Strawberry, aiohttp, as it comes": ("strawberry", "strawberry_aiohttp", "plain"),
    "Ariadne, uvicorn, cached": ("ariadne", "ariadne_uvicorn", "cached"),
    "Ariadne, uvicorn, as it comes": ("ariadne", "ariadne_uvicorn", "plain"),
}
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Server:
    """One that runs."""

    name: str
    pid: int
    url: str
    key: str = "none"

    def load(self, question: Question, requests: int) -> Load:
        return Load(
            url=self.url,
            key=self.key,
            text=question.text,
            variables=question.variables,
            requests=requests,
            connections=CONNECTIONS,
        )


async def ask(server: Server, question: Question, requests: int) -> tuple[float, Any]:
    """Microseconds of the server's CPU a request, and the data of an answer."""
    command = (sys.executable, "-m", "benchmarks.graphql.clients", json.dumps(asdict(server.load(question, requests))))
    before = cpu.used_ns(server.pid)
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    used_us = (cpu.used_ns(server.pid) - before) / 1000
    if child.returncode:
        raise SystemExit(f"{server.name}: {question.name!r} was not answered; see above")
    return used_us / requests, json.loads(output)["data"]


async def compare(servers: list[Server], rounds: int, round_s: float) -> Figures:
    """Microseconds of CPU a request, by question and server."""
    figures: Figures = {}
    for question in QUESTIONS:
        counts = await _warm(servers, question, round_s)
        measured: defaultdict[str, list[float]] = defaultdict(list)
        for number in range(rounds):
            for server in servers if number % 2 else reversed(servers):
                used_us, _ = await ask(server, question, counts[server.name])
                measured[server.name].append(used_us)
        figures[question.name] = {server.name: statistics.median(measured[server.name]) for server in servers}
    return figures


async def _warm(servers: list[Server], question: Question, round_s: float) -> dict[str, int]:
    """How many requests make a round of each; fails when two answer differently."""
    counts, expected = {}, None
    for server in servers:
        await ask(server, question, WARM_UP)
        used_us, data = await ask(server, question, WARM_UP)
        expected = data if expected is None else expected
        if data != expected:
            raise SystemExit(f"{server.name} answers {question.name!r} differently from {servers[0].name}")
        counts[server.name] = max(CONNECTIONS, round(round_s * 1e6 / used_us))
    return counts


@asynccontextmanager
async def everybody(folder: Path) -> AsyncIterator[list[Server]]:
    """All that can take part, running: ours first, peers where they are installed."""
    measured, others = cpu.two_sides()
    os.sched_setaffinity(0, others)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(_ours(folder))]
        for name, (package, module, way) in PEERS.items():
            if importlib.util.find_spec(package) is not None:
                servers.append(await stack.enter_async_context(_peer(name, module, way, folder)))
        for server in servers:
            cpu.pin(server.pid, measured)
        yield servers


@asynccontextmanager
async def _ours(folder: Path) -> AsyncIterator[Server]:
    path = folder / "config.yaml"
    async with subjects.upstreams(folder) as upstreams:
        path.write_text(json.dumps({**subjects.configuration(upstreams), "environment": "staging"}))
        command = (sys.executable, "-m", "benchmarks.graphql.servers.ours", str(path))
        async with subjects.process(*command, folder=folder) as child:
            told = json.loads(await _line(child, folder))
            yield Server(OURS, child.pid, told["url"], told["key"])


@asynccontextmanager
async def _peer(name: str, module: str, way: str, folder: Path) -> AsyncIterator[Server]:
    command = (sys.executable, "-m", f"benchmarks.graphql.servers.{module}", way)
    async with subjects.process(*command, folder=folder) as child:
        yield Server(name, child.pid, await _line(child, folder))


async def _line(child: asyncio.subprocess.Process, folder: Path) -> str:
    assert child.stdout is not None
    async with asyncio.timeout(START_S):
        line = (await child.stdout.readline()).decode().strip()
    if not line:
        raise SystemExit(f"a server did not start:\n{(folder / 'errors.log').read_text()[-2000:]}")
    return line


async def run(rounds: int, round_s: float) -> Figures:
    """The figures, by question and server."""
    with tempfile.TemporaryDirectory(prefix="citadel-bench-") as folder:
        async with everybody(Path(folder)) as servers:
            return await compare(servers, rounds, round_s)
