"""The programs that take part, each in its own process with its own folder, started and stopped here."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from citadel_edge.config.shape import ListenerName
from citadel_edge.control.client import request
from citadel_edge.control.protocol import FILE_NAME, Command, NotRunning

START_S = 120.0
STOP_S = 60.0
OURS = frozenset({"SERVER_IP", "REDIS_ENDPOINT", "SQL_DATABASE_ENDPOINT", "METRICS_SERVER_ENDPOINT"})


@dataclass(frozen=True)
class Subject:
    """Something that relays. `urls`: its door for each upstream, by the upstream's name."""

    name: str
    pids: dict[str, int]
    urls: dict[str, str]
    key: str = "none"


@asynccontextmanager
async def process(*command: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child with its errors in a file; told to stop, and killed when it does not."""
    environ = {name: value for name, value in os.environ.items() if name not in OURS}
    environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    with (folder / "errors.log").open("ab") as errors:
        child = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=errors, cwd=folder, env=environ
        )
    try:
        yield child
    finally:
        await _stop(child)


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()


@asynccontextmanager
async def upstreams(folder: Path) -> AsyncIterator[dict[str, str]]:
    """The model servers' addresses, by name."""
    async with process(sys.executable, "-m", "benchmarks.model_servers", folder=folder) as child:
        yield json.loads(await _line(child))


@asynccontextmanager
async def bare_relay(upstreams: Mapping[str, str], folder: Path) -> AsyncIterator[Subject]:
    """One bare relay for each upstream."""
    pids, urls = {}, {}
    async with AsyncExitStack() as stack:
        for name, url in upstreams.items():
            command = (sys.executable, "-m", "benchmarks.bare_relay", url)
            child = await stack.enter_async_context(process(*command, folder=folder))
            pids[name], urls[name] = child.pid, f"http://127.0.0.1:{await _line(child)}"
        yield Subject("bare aiohttp", pids, urls)


@asynccontextmanager
async def edge(upstreams: Mapping[str, str], folder: Path) -> AsyncIterator[Subject]:
    """Ours with everything on: keys, ledger, metrics, log files, private Redis and PostgreSQL."""
    path = folder / "config.yaml"
    path.write_text(json.dumps(configuration(upstreams)))
    command = (sys.executable, "-m", "citadel_edge", "serve", "--config", str(path))
    async with process(*command, folder=folder) as child:
        url = await _until_ready(child, folder / "var")
        key = json.loads((folder / "var" / "credentials.json").read_text())["admin_key"]
        yield Subject("citadel-edge", dict.fromkeys(upstreams, child.pid), dict.fromkeys(upstreams, url), key)


def configuration(upstreams: Mapping[str, str]) -> dict[str, Any]:
    """The edge's configuration: any free ports, a model for each upstream under the upstream's name."""
    return {
        "data_dir": "./var",
        "listeners": {name.value: {"port": 0} for name in ListenerName},
        "logs": {"directory": "./logs", "format": "json"},
        "upstreams": [{"id": name, "url": url, "engine": "vllm", "slots": 256} for name, url in upstreams.items()],
        "models": [{"name": name, "deployments": [{"upstream": name}], "context_tokens": 4096} for name in upstreams],
    }


async def _until_ready(child: asyncio.subprocess.Process, data_dir: Path) -> str:
    """The URL of routing-api, once every dependency is up and the keys are written."""
    async with asyncio.timeout(START_S):
        while child.returncode is None:
            if (url := await _healthy(data_dir)) and (data_dir / "credentials.json").exists():
                return url
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the edge ended with {child.returncode}; see {data_dir.parent / 'errors.log'}")


async def _healthy(data_dir: Path) -> str | None:
    try:
        listener = await request(data_dir / FILE_NAME, Command.LISTENER_STATUS, name=ListenerName.ROUTING)
    except NotRunning:
        return None
    return str(listener["url"]) if listener["status"] == "healthy" else None


async def _line(child: asyncio.subprocess.Process) -> str:
    if child.stdout is None:
        raise RuntimeError("started without a pipe")
    async with asyncio.timeout(START_S):
        return (await child.stdout.readline()).decode().strip()


Starter = Callable[[Mapping[str, str], Path], AbstractAsyncContextManager[Subject]]
KNOWN: Mapping[str, Starter] = {"bare": bare_relay, "ours": edge}
