"""The schema's numbered steps, from the package's own `migrations` directory.

Decides which steps a database still needs and applies each in a transaction of its own, under one advisory lock, so
that any number of instances may start at once. A step that was applied is never changed: its checksum is kept.
Refuses to know what the steps do. There is no way back: a mistake is undone by a further step.
"""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any, Final

from citadel_edge.errors import StartError
from citadel_edge.storage.postgres import PostgresPool

LOCK: Final = 0x0C17ADE1
TIMEOUT_S: Final = 300.0
_FILE_NAME: Final = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql")
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: `number` gives the order, `sql` may hold several statements and must not end the transaction."""

    number: int
    name: str
    sql: str

    @property
    def label(self) -> str:
        """As the file is called, without its ending."""
        return f"{self.number:04d}_{self.name}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def packaged() -> tuple[Migration, ...]:
    """The steps that came with this version, in order. Reads files: call it before the loop serves, or in a thread."""
    found = ((_FILE_NAME.fullmatch(entry.name), entry) for entry in files("citadel_edge.storage.migrations").iterdir())
    return ordered(
        Migration(int(match["number"]), match["name"], entry.read_text(encoding="utf-8"))
        for match, entry in found
        if match
    )


def ordered(found: Iterable[Migration]) -> tuple[Migration, ...]:
    """The steps by number; two of one number are a mistake of the package."""
    steps = sorted(found, key=lambda step: step.number)
    for one, other in pairwise(steps):
        if one.number == other.number:
            raise StartError(f"two migrations have the number {one.number:04d}: {one.label} and {other.label}")
    return tuple(steps)


async def migrate(pool: PostgresPool, steps: tuple[Migration, ...] | None = None) -> list[str]:
    """Apply what is missing; answers the labels of the steps that this call applied.

    Raises:
        StartError: an applied step was changed afterwards, or the database is newer than this version.
        PostgresUnavailable: the server is away; nothing, or whole steps, were applied.
    """
    if steps is None:
        steps = await asyncio.to_thread(packaged)
    applied = []
    while step := await _apply_next(pool, steps):
        applied.append(step.label)
    return applied


async def _apply_next(pool: PostgresPool, steps: tuple[Migration, ...]) -> Migration | None:
    async with pool.transaction(timeout_s=TIMEOUT_S) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(_TABLE)
        step = missing(steps, await connection.fetch("SELECT number, name, checksum FROM schema_migrations"))
        if step is not None:
            await connection.execute(step.sql)
            await _record(connection, step)
        return step


async def _record(connection: Any, step: Migration) -> None:
    await connection.execute(
        "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
        step.number,
        step.name,
        step.checksum,
    )


def missing(steps: tuple[Migration, ...], applied: Iterable[Mapping[str, Any]]) -> Migration | None:
    """The first step that `applied` (rows of `schema_migrations`) does not hold.

    Raises:
        StartError: the two do not belong together.
    """
    rows = {row["number"]: row for row in applied}
    known = {step.number for step in steps}
    for number in sorted(rows.keys() - known):
        raise StartError(
            f"the database is newer than this version: it has migration {number:04d}_{rows[number]['name']}, which "
            f"this version does not know; start the version that made it, or restore a backup from before"
        )
    for step in steps:
        row = rows.get(step.number)
        if row is None:
            return step
        if row["checksum"] != step.checksum:
            raise StartError(
                f"migration {step.label} was applied to this database with another content than this version has: "
                f"an applied migration is never changed; install the version that made this database"
            )
    return None
