"""`keys bootstrap`: the first admin key, made by hand where no start prints one."""

import argparse
import asyncio
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from citadel_edge.accounts.bootstrap import first_admin_key
from citadel_edge.cli.accounts.actions import Action
from citadel_edge.cli.options import add_config, loaded
from citadel_edge.config.shape import Config, LogsConfig, PostgresConfig
from citadel_edge.config.urls import EMBEDDED
from citadel_edge.embedded import postgres as embedded_postgres
from citadel_edge.embedded.sockets import RECORD
from citadel_edge.errors import RequestError, StartError
from citadel_edge.storage.migrate import migrate
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.logs import Logs

SHOWN_ONCE: Final = "This is shown once. Keep it safe."


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--force", action="store_true", help="make a further key although an admin has one that works")


def _run(arguments: argparse.Namespace) -> int:
    """Print the key, and nothing else, to standard output. It cannot be shown again.

    Raises:
        StartError: an admin has a key already, or the embedded database is not running.
        PostgresUnavailable: the database is away.
    """
    config = loaded(arguments).config
    print(asyncio.run(_bootstrap(config, _reachable(config), force=arguments.force)))
    print(SHOWN_ONCE, file=sys.stderr)
    return 0


async def _bootstrap(config: Config, settings: PostgresConfig, *, force: bool) -> str:
    clock = Clock()
    with Logs.open(LogsConfig(level="error"), stream=io.StringIO()) as logs:
        async with PostgresPool.open(settings, clock=clock, log=logs.logger()) as pool:
            await migrate(pool)
            try:
                return await first_admin_key(pool, config, clock, force=force)
            except RequestError as error:
                raise StartError(f"{error.message} (--force)") from error


def _reachable(config: Config) -> PostgresConfig:
    """The database's address; the embedded one has one while a process of this data directory serves."""
    if config.postgres.dsn != EMBEDDED:
        return config.postgres
    home = config.data_dir / embedded_postgres.NAME
    directory = next((path for path in _socket_directories(home) if (path / embedded_postgres.SOCKET).exists()), None)
    if directory is None:
        raise StartError(
            "the embedded PostgreSQL runs only while the edge does: start it (citadel-edge serve), then ask again"
        )
    database = quote(config.postgres.database, safe="")
    dsn = f"postgresql://{embedded_postgres.USER}@/{database}?host={quote(str(directory))}"
    return replace(config.postgres, dsn=dsn, user=None, password=None)


def _socket_directories(home: Path) -> list[Path]:
    """Where `embedded.sockets` may have put the socket."""
    record = home / RECORD
    return [home / "socket", *([Path(record.read_text().strip())] if record.exists() else [])]


BOOTSTRAP: Final = Action(
    "bootstrap", "make the user admin, if there is none, and a key for it, in the database", _add_arguments, _run
)
