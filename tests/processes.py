"""The edge as its user starts it: `citadel-edge serve` in a process of its own, everything embedded."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from ports import free_ports

PORTS = {"graphql-api": 9095, "streaming-api": 9096, "routing-api": 9097, "rate-limiting-api": 9098}
MODEL = "gemma-3-270m"
STARTS_WITHIN_S = 120.0


class EdgeProcess:
    """One `citadel-edge serve`. `config` is merged into a small file in `home`."""

    def __init__(self, home: Path, config: dict[str, Any] | None = None) -> None:
        self.home = home
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.data_dir = home / "var"
        self.config_path = home / "config.yaml"
        self.log_path = home / "edge.log"
        self.panel_path = home / "panel.txt"
        self.write_config(config or {})
        self._process: subprocess.Popen[bytes] | None = None

    def write_config(self, config: dict[str, Any]) -> None:
        """JSON is YAML."""
        base = {"data_dir": str(self.data_dir), "listeners": {n: {"port": p} for n, p in self.ports.items()}}
        self.config_path.write_text(json.dumps({**base, **config}))

    def url(self, path: str, listener: str = "routing-api") -> str:
        return f"http://127.0.0.1:{self.ports[listener]}{path}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def keys(self) -> dict[str, str]:
        return json.loads((self.data_dir / "credentials.json").read_text())

    def headers(self, key: str = "demo_key") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[key]}"}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "citadel_edge", *words, "--config", str(self.config_path)]

    def start(self) -> None:
        with self.panel_path.open("wb") as panel, self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command("serve"), cwd=self.home, stdin=subprocess.DEVNULL, stdout=panel, stderr=log
            )

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def exited(self, within_s: float) -> int:
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, within_s)

    def children(self) -> dict[str, psutil.Process]:
        """The embedded servers by name: each is a keeper's child."""
        names = {}
        for child in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                line = " ".join(child.cmdline())
                if "keeper" in line:
                    continue
                parent = child.parent()
                if parent is not None and "keeper" in " ".join(parent.cmdline()):
                    names.setdefault(_part(line), child)
        return names

    def mine(self) -> list[psutil.Process]:
        """Every process anywhere that has to do with the data directory."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.data_dir) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    async def panel(self, within_s: float = STARTS_WITHIN_S) -> str:
        """The panel, once it is there."""
        async with asyncio.timeout(within_s):
            while "╰" not in (text := await asyncio.to_thread(self.panel_path.read_text)):
                assert self._process is not None
                assert self._process.poll() is None, await asyncio.to_thread(self.log_path.read_text)
                await asyncio.sleep(0.02)
        return text

    async def stop(self) -> int:
        self.send(signal.SIGTERM)
        return await self.exited(60)

    def kill(self) -> None:
        """Whatever is left, for the end of a test that failed."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _part(line: str) -> str:
    for name in ("valkey", "postgres", "llama"):
        if name in line.partition(" ")[0] or name in line:
            return name
    return line


@contextlib.asynccontextmanager
async def served(edge: EdgeProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """Started, its panel shown; stopped in good order at the end."""
    edge.start()
    try:
        await edge.panel()
        async with aiohttp.ClientSession() as client:
            yield client
        assert await edge.stop() == 0
    finally:
        edge.kill()


async def status_of(client: aiohttp.ClientSession, edge: EdgeProcess, listener: str) -> str:
    async with client.get(edge.url("/health", listener)) as answer:
        return str((await answer.json())["status"])


async def until_status(
    client: aiohttp.ClientSession, edge: EdgeProcess, listener: str, wanted: set[str], within_s: float = 30
) -> str:
    """Wait for a health status."""
    async with asyncio.timeout(within_s):
        while (status := await status_of(client, edge, listener)) not in wanted:
            await asyncio.sleep(0.05)
    return status
