"""The settings as rows of PostgreSQL.

Decides how a row is locked, written and read. Refuses to know who may change one and what follows.
"""

from typing import Any, Final

import asyncpg

from citadel_edge.accounts.desk import Change
from citadel_edge.errors import Code, PostgresUnavailable, RequestError
from citadel_edge.fleet.table import RowState
from citadel_edge.operations.settings import Setting, SettingKind
from citadel_edge.storage.postgres import PostgresPool

POSTGRES_CHANNEL: Final = "citadel_fleet"
"""Where the trigger of migration 0003 tells of changes."""
_NO_TABLE: Final = "PostgreSQL has no settings yet: the migrations are still to run"
_ADD: Final = "INSERT INTO fleet_settings (kind, id, set_by) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_LOCK: Final = "SELECT * FROM fleet_settings WHERE kind = $1 AND id = $2 FOR UPDATE"
_WRITE: Final = """
UPDATE fleet_settings SET weight = $3, state = $4, tripped = $5, reason = $6, set_by = $7, set_at = now(),
    version = version + 1
WHERE kind = $1 AND id = $2 RETURNING *"""


async def lock(change: Change, kind: SettingKind, identity: str, *, version: int | None) -> Any:
    """The row, made if there is none (its version is 0 then), locked until the change ends.

    Raises:
        RequestError: STALE, when the caller has seen another version.
        PostgresUnavailable: there is no such table yet.
    """
    try:
        await change.connection.execute(_ADD, kind.value, identity, change.actor.who)
    except asyncpg.UndefinedTableError as error:
        raise PostgresUnavailable(_NO_TABLE) from error
    row = await change.fetchrow(_LOCK, kind.value, identity)
    if version is not None and row["version"] != version:
        message = f"The {kind.value} was changed meanwhile. Read it again, then repeat the change."
        raise RequestError(Code.STALE, message)
    return row


async def write(
    change: Change,
    before: Any,
    *,
    action: str,
    weight: float | None = None,
    state: str | None = None,
    tripped: bool = False,
    reason: str | None = None,
) -> Setting:
    """Put the new values into a locked row and a line into the audit trail."""
    row = await change.fetchrow(_WRITE, before["kind"], before["id"], weight, state, tripped, reason, change.actor.who)
    await change.audit(action, before["id"], before if before["version"] else None, row)
    return _made(row)


async def read_all(postgres: PostgresPool, *, timeout_s: float | None = None) -> list[Setting]:
    """Every setting.

    Raises:
        PostgresUnavailable: the database is away, or has no such table yet.
    """
    try:
        rows = await postgres.fetch("SELECT * FROM fleet_settings", timeout_s=timeout_s)
    except asyncpg.UndefinedTableError as error:
        raise PostgresUnavailable(_NO_TABLE) from error
    return [_made(row) for row in rows]


def _made(row: Any) -> Setting:
    state = row["state"]
    values = {**dict(row), "kind": SettingKind(row["kind"]), "state": None if state is None else RowState(state)}
    return Setting(**values)
