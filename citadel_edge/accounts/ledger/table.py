"""The ledger's tables in PostgreSQL: how rows get in, once each.

Decides the statements, and whether an error is a row's own fault or the database's. Rows go over as one JSON text and
are taken apart there: the loop spends 1 µs a row on it, a tenth of what arrays or COPY cost it. A server that is set
to acknowledge before it has written (`synchronous_commit = off`) is asked to write first: the spool forgets what was
acknowledged.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from citadel_edge.accounts.ledger.codec import is_fold
from citadel_edge.storage.postgres import PostgresPool

_TYPES: Final = {
    "event_id": "uuid",
    "request_id": "text",
    "organisation_id": "text",
    "user_id": "text",
    "key_id": "text",
    "tier": "text",
    "model": "text",
    "upstream": "text",
    "endpoint": "text",
    "listener": "text",
    "decision_id": "text",
    "attempts": "integer",
    "tokens_in": "bigint",
    "tokens_out": "bigint",
    "cost_usd": "numeric",
    "outcome": "text",
    "ttft_ms": "double precision",
    "duration_ms": "double precision",
    "count": "bigint",
    "created_at": "timestamptz",
}
_COLUMNS: Final = ", ".join(_TYPES)
_DECLARED: Final = ", ".join(f"{name} {kind}" for name, kind in _TYPES.items())
_FACTS: Final = ", ".join(name for name in _TYPES if name != "count")

_WRITTEN_FIRST: Final = """
(SELECT CASE current_setting('synchronous_commit')
        WHEN 'off' THEN set_config('synchronous_commit', 'on', true) ELSE 'as it is' END) IS NOT NULL
"""

_ADD_ROWS: Final = f"""
INSERT INTO usage_events ({_COLUMNS})
SELECT {_COLUMNS} FROM json_to_recordset($1::json) AS row ({_DECLARED})
WHERE {_WRITTEN_FIRST}
ON CONFLICT (event_id) DO NOTHING
"""  # noqa: S608 - column names of ours

_ADD_FOLDS: Final = f"""
WITH sent AS MATERIALIZED (
    SELECT DISTINCT ON (fold_id) * FROM json_to_recordset($1::json) AS row (fold_id uuid, {_DECLARED})
    WHERE {_WRITTEN_FIRST} ORDER BY fold_id
), fresh AS (
    INSERT INTO usage_folds (fold_id) SELECT fold_id FROM sent
    ON CONFLICT (fold_id) DO NOTHING RETURNING fold_id
)
INSERT INTO usage_events ({_FACTS}, count)
SELECT DISTINCT ON (event_id) {_FACTS}, (sum(count) OVER (PARTITION BY event_id))::bigint
FROM sent JOIN fresh USING (fold_id) ORDER BY event_id, fold_id
ON CONFLICT (event_id) DO UPDATE SET count = usage_events.count + excluded.count
"""  # noqa: S608 - column names of ours

_FORGET_FOLDS: Final = "DELETE FROM usage_folds WHERE carried_at < now() - interval '7 days'"

# data exceptions, violated constraints, program limits (an index entry too long)
_ROWS_FAULT_CLASSES: Final = frozenset({"22", "23", "54"})


async def add(postgres: PostgresPool, payloads: Sequence[bytes]) -> None:
    """Put rows into `usage_events`. Repeating it changes nothing.

    Raises:
        PostgresUnavailable: the server is away; some or all of the rows may be in.
        asyncpg.PostgresError: the server refuses; see `is_rows_fault`.
    """
    rows = [payload for payload in payloads if not is_fold(payload)]
    folds = [payload for payload in payloads if is_fold(payload)]
    if rows:
        await postgres.execute(_ADD_ROWS, _array(rows))
    if folds:
        await postgres.execute(_ADD_FOLDS, _array(folds))


async def forget_folds(postgres: PostgresPool) -> None:
    """Drop the names of contributions that nobody will send again.

    Raises:
        PostgresUnavailable, asyncpg.PostgresError: not now.
    """
    await postgres.execute(_FORGET_FOLDS)


def is_rows_fault(error: asyncpg.PostgresError) -> bool:
    """Whether a row is at fault, so that the others would go in without it."""
    return str(error.sqlstate)[:2] in _ROWS_FAULT_CLASSES


def _array(payloads: Sequence[bytes]) -> str:
    return (b"[" + b",".join(payloads) + b"]").decode(errors="replace")
