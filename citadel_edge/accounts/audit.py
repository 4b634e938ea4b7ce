"""The audit trail, as it is read.

It is written by `desk`, in the transaction of each change; the database lets nobody change or delete a line.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from citadel_edge.accounts import values
from citadel_edge.accounts.desk import invalid
from citadel_edge.accounts.pages import Page, PageRequest, Where, page
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which changes are asked for; None is any.

    Attributes:
        subject: an id, or a tier's name.
        who: a user's id, or a part of the process as `bootstrap`.
        action: as `create_user`.
        since, until: aware; from then on, and before then.
    """

    subject: str | None = None
    who: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_audit(
    postgres: PostgresPool, request: PageRequest, wanted: AuditFilter | None = None
) -> Page[AuditEntry]:
    """Changes, latest first."""
    wanted = AuditFilter() if wanted is None else wanted
    where = Where().add("id < {}", _number(request.key))
    where.add("subject = {}", values.maybe_plain(wanted.subject, param="subject"))
    where.add("who = {}", values.maybe_plain(wanted.who, param="who"))
    where.add("action = {}", values.maybe_plain(wanted.action, param="action"))
    where.add("at >= {}", wanted.since).add("at < {}", wanted.until)
    query = f"SELECT * FROM audit {where} ORDER BY id DESC LIMIT {where.argument(request.limit + 1)}"  # noqa: S608 - ours
    rows = await postgres.fetch(query, *where.arguments)
    return page(rows, request, make=_made, key=lambda row: row["id"])


async def get_entry(postgres: PostgresPool, entry_id: str) -> AuditEntry | None:
    """One change by its number; None without one."""
    row = await postgres.fetchrow("SELECT * FROM audit WHERE id = $1", _number(entry_id))
    return None if row is None else _made(row)


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
