"""The audit trail, as it is read.

It is written by `desk`, in the transaction of each change; the database lets nobody change or delete a line.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from citadel_edge.accounts import values
from citadel_edge.accounts.desk import invalid
from citadel_edge.accounts.pages import Page, PageRequest, page
from citadel_edge.storage.postgres import PostgresPool


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change. `before` and `after` are the row's values as JSON knows them, without secrets."""

    id: int
    at: datetime
    who: str
    key_id: str | None
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None


async def list_audit(postgres: PostgresPool, request: PageRequest, *, subject: str | None = None) -> Page[AuditEntry]:
    """Changes, latest first; of one subject (an id, or a tier's name) if asked."""
    rows = await postgres.fetch(
        "SELECT * FROM audit WHERE ($1::bigint IS NULL OR id < $1) AND ($3::text IS NULL OR subject = $3) "
        "ORDER BY id DESC LIMIT $2",
        _number(request.key),
        request.limit + 1,
        subject and values.plain(subject, param="subject"),
    )
    return page(rows, request, make=_made, key=lambda row: row["id"])


def _number(key: str | None) -> int | None:
    if key is None:
        return None
    if not (key.isascii() and key.isdecimal() and len(key) <= 18):  # noqa: PLR2004 - fits a bigint
        raise invalid("This is no cursor of ours: use `next` of a page.", "after")
    return int(key)


def _made(row: Any) -> AuditEntry:
    return AuditEntry(**{**dict(row), "before": _object(row["before"]), "after": _object(row["after"])})


def _object(text: str | None) -> dict[str, Any] | None:
    return None if text is None else dict(json.loads(text))
