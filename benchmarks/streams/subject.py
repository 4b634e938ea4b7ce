"""What is measured: an edge with everything on, in a process of its own, with bounds wide enough for the load."""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cpu
from benchmarks.streams.engine import TOKEN_MS
from benchmarks.subjects import process
from citadel_edge.config.shape import ListenerName
from citadel_edge.control.client import request
from citadel_edge.control.protocol import FILE_NAME, Command, NotRunning

START_S = 120.0
PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A running one. `redis`: the process of its private Valkey."""

    pid: int
    redis: int
    urls: Mapping[ListenerName, str]
    key: str

    def resident_bytes(self) -> int:
        """Its memory in RAM."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def cpu_s(self) -> float:
        """What it has used of the processor, its databases not counted."""
        return cpu.used_ns(self.pid) / 1e9

    def redis_s(self) -> float:
        """What its Valkey has used."""
        return cpu.used_ns(self.redis) / 1e9


def raise_file_bound() -> int:
    """As many open files as the system allows, for this process and those it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@asynccontextmanager
async def engines(folder: Path, token_ms: float = TOKEN_MS) -> AsyncIterator[dict[str, str]]:
    """The model servers' addresses, by name. `token_ms`: a stream's time from token to token."""
    async with process(sys.executable, "-m", "benchmarks.streams.engine", str(token_ms), folder=folder) as child:
        yield json.loads(await line_of(child))


@asynccontextmanager
async def edge(upstreams: Mapping[str, str], folder: Path) -> AsyncIterator[Edge]:
    """One, healthy."""
    _write(folder, configuration(upstreams))
    command = (sys.executable, "-m", "citadel_edge", "serve", "--config", "config.yaml")
    async with process(*command, folder=folder) as child:
        data = folder / "var"
        async with asyncio.timeout(START_S):
            while not (urls := await _ready(data)):
                if child.returncode is not None:
                    raise RuntimeError(f"the edge ended with {child.returncode}; see {folder / 'errors.log'}")
                await asyncio.sleep(0.1)
        key = json.loads((data / "credentials.json").read_text())["admin_key"]
        yield Edge(pid=child.pid, redis=_valkey_of(data), urls=urls, key=key)


def configuration(upstreams: Mapping[str, str]) -> dict[str, Any]:
    """Any free ports, a model for each upstream under the upstream's name."""
    budget = {"tasks": 2048, "queue": 2048}
    return {
        "data_dir": "./var",
        "listeners": {name.value: {"port": 0, "budget": budget} for name in ListenerName},
        "http": {"max_connections": 20_000, "max_subscriptions": 20_000},
        "logs": {"directory": "./logs", "format": "json"},
        "upstreams": [{"id": name, "url": url, "engine": "vllm", "slots": 512} for name, url in upstreams.items()],
        "models": [{"name": name, "deployments": [{"upstream": name}], "context_tokens": 60_000} for name in upstreams],
    }


async def line_of(child: asyncio.subprocess.Process, within_s: float = START_S) -> str:
    """One line that a child says."""
    if child.stdout is None:
        raise RuntimeError("started without a pipe")
    async with asyncio.timeout(within_s):
        return (await child.stdout.readline()).decode().strip()


def _write(folder: Path, config: Mapping[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps(config))


async def _ready(data: Path) -> dict[ListenerName, str]:
    """Where the doors are, once all four are healthy and the keys are written."""
    try:
        listeners = (await request(data / FILE_NAME, Command.STATUS))["listeners"]
    except NotRunning:
        return {}
    whole = all(each["status"] == "healthy" for each in listeners) and (data / "credentials.json").exists()
    return {ListenerName(each["name"]): str(each["url"]) for each in listeners} if whole else {}


def _valkey_of(data: Path) -> int:
    """The process of the Valkey whose files are there."""
    for each in Path("/proc").glob("[0-9]*"):
        try:
            program = (each / "cmdline").read_bytes().partition(b" ")[0]
            folder = (each / "cwd").readlink()
        except OSError:  # it has ended, or is another user's
            continue
        if program.endswith(b"valkey-server") and folder.is_relative_to(data.resolve()):
            return int(each.name)
    raise RuntimeError(f"no Valkey runs under {data}")
