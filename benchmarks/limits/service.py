"""What is measured: instances of one service over one Redis and one PostgreSQL, each a `citadel-edge serve` of its own.

The Redis is ours to kill, to freeze and to bring back. It writes every command down before it answers, so that one that
was killed comes back with its data; unless it is to come back with nothing.
"""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import aiohttp

from benchmarks.subjects import process
from citadel_edge.config.shape import ListenerName
from citadel_edge.control.client import request
from citadel_edge.control.protocol import FILE_NAME, Command, NotRunning
from citadel_edge.embedded.valkey import SETTINGS, SOCKET, find_program

START_S: Final = 120.0
LOOK_EVERY_S: Final = 0.02


class Way(StrEnum):
    """How Redis goes away, and what it comes back with: KILL and FREEZE with all it had, LOSE with nothing."""

    KILL = "kill"
    FREEZE = "freeze"
    LOSE = "lose"


class Valkey:
    """One Valkey on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: asyncio.subprocess.Process | None = None
        folder.mkdir()

    @property
    def path(self) -> Path:
        """Its socket."""
        return self._folder / SOCKET

    @property
    def pid(self) -> int:
        """Its process."""
        return self._running().pid

    async def start(self) -> None:
        """Return when it answers."""
        self.path.unlink(missing_ok=True)
        settings = [word for name, value in SETTINGS for word in (f"--{name}", value)]
        places = ("--unixsocket", str(self.path), "--dir", str(self._folder))
        command = (str(find_program()), *settings, *places)
        self._child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(START_S):
            while not await self._answers():  # noqa: ASYNC110 - nothing announces it to us
                await asyncio.sleep(LOOK_EVERY_S)

    async def leave(self, way: Way) -> None:
        """Go away."""
        if way is Way.FREEZE:
            self._running().send_signal(signal.SIGSTOP)
        else:
            await self.kill()

    async def come_back(self, way: Way) -> None:
        """Return when it answers again."""
        if way is Way.FREEZE:
            self._running().send_signal(signal.SIGCONT)
            return
        if way is Way.LOSE:
            await asyncio.to_thread(shutil.rmtree, self._folder / "appendonlydir")
        await self.start()

    async def kill(self) -> None:
        """At once; a frozen one too."""
        if self._child is not None:
            self._child.kill()
            await self._child.wait()
            self._child = None

    async def info(self, section: str) -> dict[str, str]:
        """One section of INFO."""
        lines = (await self._ask(f"INFO {section}")).split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    async def _answers(self) -> bool:
        try:
            return await self._ask("PING") == "+PONG\r\n"
        except OSError:
            return False

    async def _ask(self, command: str) -> str:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            writer.write(f"{command}\r\n".encode())
            head = await reader.readline()
            body = await reader.readexactly(int(head[1:])) if head[:1] in b"$=" else b""
            return (body or head).decode()
        finally:
            writer.close()

    def _running(self) -> asyncio.subprocess.Process:
        if self._child is None:
            raise RuntimeError("Valkey was not started")
        return self._child


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One edge: where its doors are."""

    pid: int
    urls: Mapping[ListenerName, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """All of it, and its administrator's key."""

    instances: Sequence[Instance]
    valkey: Valkey
    dsn: str
    admin_key: str


@asynccontextmanager
async def service(
    folder: Path,
    *,
    upstreams: Mapping[str, str],
    tiers: Sequence[Mapping[str, Any]],
    count: int,
    redis: Mapping[str, Any] = MappingProxyType({}),
) -> AsyncIterator[Service]:
    """So many instances, healthy. The first one's PostgreSQL is everybody's. `redis`: what is set of it besides."""
    valkey = Valkey(folder / "redis")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(valkey.kill)
        await valkey.start()
        config = {**configuration(upstreams, tiers), "redis": {"url": f"unix://{valkey.path}", **redis}}
        first = await stack.enter_async_context(_edge(folder / "0", config))
        dsn = f"postgresql://citadel@/citadel?host={(await _socket(first)).parent}"
        shared = {**config, "postgres": {"dsn": dsn}}
        further = [await stack.enter_async_context(_edge(folder / str(number), shared)) for number in range(1, count)]
        instances = [await _instance(edge) for edge in (first, *further)]
        yield Service(instances=instances, valkey=valkey, dsn=dsn, admin_key=await _admin_key(folder))


def configuration(upstreams: Mapping[str, str], tiers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Any free ports, and a model for each upstream under the upstream's name."""
    return {
        "data_dir": "./var",
        "listeners": {name.value: {"port": 0} for name in ListenerName},
        "logs": {"directory": "./logs", "format": "json"},
        "upstreams": [{"id": name, "url": url, "engine": "vllm", "slots": 256} for name, url in upstreams.items()],
        "models": [{"name": name, "deployments": [{"upstream": name}], "context_tokens": 4096} for name in upstreams],
        "tiers": list(tiers),
    }


async def new_user(client: aiohttp.ClientSession, served: Service, *, name: str, tier: str) -> dict[str, str]:
    """A user of a tier: `id`, `organisation` and an API `key`."""
    url = f"{served.instances[0].urls[ListenerName.RATE_LIMITING]}/v1/users"
    headers = {"Authorization": f"Bearer {served.admin_key}"}
    user = await _made(client, url, {"name": name, "tier": tier}, headers)
    key = await _made(client, f"{url}/{user['id']}/keys", {"name": name}, headers)
    return {"id": user["id"], "organisation": user["organisation_id"], "key": key["key"]}


async def _made(
    client: aiohttp.ClientSession, url: str, body: dict[str, str], headers: dict[str, str]
) -> dict[str, str]:
    async with client.post(url, json=body, headers=headers) as answer:
        answer.raise_for_status()
        made: dict[str, str] = await answer.json()
        return made


@dataclass(frozen=True, slots=True)
class _Edge:
    """One that was started."""

    child: asyncio.subprocess.Process
    folder: Path

    def demand_life(self) -> None:
        """Raise if it has ended."""
        if self.child.returncode is not None:
            raise RuntimeError(f"the edge ended with {self.child.returncode}; see {self.folder / 'errors.log'}")


@asynccontextmanager
async def _edge(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[_Edge]:
    command = (sys.executable, "-m", "citadel_edge", "serve", "--config", str(_written(folder, config)))
    async with process(*command, folder=folder) as child:
        yield _Edge(child, folder)


async def _socket(edge: _Edge) -> Path:
    """Its PostgreSQL's, once it is there: further instances need not wait until the first is ready."""
    async with asyncio.timeout(START_S):
        while not (found := _found(edge.folder / "var", ".s.PGSQL.5432")):
            edge.demand_life()
            await asyncio.sleep(LOOK_EVERY_S)
    return found


def _found(folder: Path, name: str) -> Path | None:
    """The file of that name, however deep; null while there is none. Folders come and go while a database is made."""
    with suppress(FileNotFoundError):
        return next(folder.glob(f"**/{name}"), None)
    return None


async def _instance(edge: _Edge) -> Instance:
    """It, once it is healthy."""
    async with asyncio.timeout(START_S):
        while not (urls := await _healthy(edge.folder / "var" / FILE_NAME)):
            edge.demand_life()
            await asyncio.sleep(LOOK_EVERY_S)
    return Instance(pid=edge.child.pid, urls=urls)


async def _admin_key(folder: Path) -> str:
    """Whichever instance made the first keys writes them down."""
    async with asyncio.timeout(START_S):
        while not (found := _found(folder, "credentials.json")):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(LOOK_EVERY_S)
    return str(json.loads(await asyncio.to_thread(found.read_text))["admin_key"])


def _written(folder: Path, config: Mapping[str, Any]) -> Path:
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


async def _healthy(control: Path) -> dict[ListenerName, str]:
    """Where the doors are, once all four are healthy."""
    try:
        listeners = (await request(control, Command.STATUS))["listeners"]
    except NotRunning:
        return {}
    whole = all(each["status"] == "healthy" for each in listeners)
    return {ListenerName(each["name"]): str(each["url"]) for each in listeners} if whole else {}
