"""`python -m benchmarks.faults`: six replicas under 50 clients, one killed, one frozen, one slow; then all are well.

The edge, the replicas and the clients are processes of their own. The edge runs with everything on: keys, ledger,
metrics, private Redis and PostgreSQL.
"""

import argparse
import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.faults.clients import Door
from benchmarks.faults.fleet import MODEL, SLOTS
from benchmarks.faults.story import Controls, Figures, Replica, tell
from benchmarks.subjects import process

START_S = 120.0
LISTENERS = ("graphql-api", "streaming-api", "routing-api", "rate-limiting-api")


@asynccontextmanager
async def replicas(folder: Path) -> AsyncIterator[list[Replica]]:
    """The fleet."""
    async with process(sys.executable, "-m", "benchmarks.faults.fleet", folder=folder) as child:
        assert child.stdout is not None
        async with asyncio.timeout(START_S):
            line = await child.stdout.readline()
        yield [Replica(**each) for each in json.loads(line)]


@asynccontextmanager
async def edge(fleet: list[Replica], folder: Path, options: argparse.Namespace) -> AsyncIterator[Door]:
    """Ours in front of it."""
    port = _free_port()
    config = configuration(fleet, port, options)
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    command = (sys.executable, "-m", "citadel_edge", "serve", "--config", str(path))
    async with process(*command, folder=folder) as child, aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(START_S):
            while not await _healthy(client, url):
                if child.returncode is not None:
                    raise RuntimeError(f"the edge ended with {child.returncode}; see {folder / 'errors.log'}")
                await asyncio.sleep(0.1)
        key = json.loads((folder / "var" / "credentials.json").read_text())["admin_key"]
        yield Door(url, key)


def configuration(fleet: list[Replica], port: int, options: argparse.Namespace) -> dict[str, Any]:
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
        "routing": {"strategy": options.strategy, "probe_interval_s": options.probe_interval_s},
    }


async def _healthy(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(f"{url}/health") as answer:
            return (await answer.json())["status"] == "healthy"
    except aiohttp.ClientError:
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def table(found: Figures) -> str:
    """The figures as people read them."""
    lines = [f"{'requests begun':<26}{'number':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}"]
    rows = {
        "healthy": "all well",
        "turmoil": "around the faults",
        "after": "2 s after and later",
        "recovery": "well again",
    }
    for name, words in rows.items():
        row = found[name]
        lines.append(
            f"{words:<26}{row['requests']:>8}{row['p50_ms']:>9.1f}{row['p95_ms']:>9.1f}"
            f"{row['p99_ms']:>9.1f}{row['max_ms']:>9.1f}"
        )
    lines += [
        f"failed: {found['failed']} of {found['requests']}; moved to another replica: {found['moved']}",
        f"p99 2 s after the faults against the healthy fleet's: {found['p99_ratio']:.2f}",
        f"streams broken: {found['streams_failed']} of {found['streams']}; the slowest: {found['slowest_stream_s']} s",
        f"streams began on {found['streams_by_first_replica']}",
        f"used again after (s): {found['recovered_after_s']}; shares in the end (1 is equal): {found['last_shares']}",
        f"most held at once in the first second: {found['most_held_in_first_second']} of {found['slots']} slots",
        *(f"  {failure}" for failure in (*found["failures"], *found["stream_failures"])),
    ]
    return "\n".join(lines)


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="citadel-faults-") as name:
        folder = Path(name)
        async with (
            replicas(folder) as fleet,
            edge(fleet, folder, options) as door,
            aiohttp.ClientSession() as client,
        ):
            found = await tell(door, Controls(fleet, client), requests=options.requests, recovery_s=options.recovery_s)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="until the faults are over (default 2000)")
    parser.add_argument("--recovery-s", type=float, default=14.0, help="how long to watch what follows (default 14)")
    parser.add_argument("--strategy", default="adaptive", help="how replicas are chosen (default adaptive)")
    parser.add_argument("--probe-interval-s", type=float, default=0.5, help="between two looks at a replica")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed()))
