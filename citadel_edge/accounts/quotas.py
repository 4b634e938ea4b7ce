"""Overrides: limits of one user in the place of the tier's. Their rows, their changes.

Decides that they are replaced as a whole and that every change of them waits for the one before. A user without a row
has none, in version 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from citadel_edge.accounts import values
from citadel_edge.accounts.desk import Actor, Change, Desk, demand_version, same_json
from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.sheets import checked_overrides
from citadel_edge.storage.postgres import PostgresPool

_READ: Final = (
    "SELECT u.id AS user_id, coalesce(q.overrides, '{}') AS overrides, coalesce(q.version, 0) AS version, "
    "q.updated_at FROM users u LEFT JOIN quotas q ON q.user_id = u.id WHERE u.id = $1"
)
_REPLACE: Final = (
    "INSERT INTO quotas (user_id, overrides) VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE "
    "SET overrides = excluded.overrides, version = quotas.version + 1, updated_at = now() RETURNING *"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a user has of limits beside the tier's. `version` grows with each change of the overrides."""

    user_id: str
    overrides: Mapping[str, Any]
    version: int
    updated_at: datetime | None


async def set_overrides(
    desk: Desk, user_id: str, overrides: Mapping[str, Any], *, by: Actor, version: int | None = None
) -> Quota:
    """Replace a user's overrides. What they do not name is the tier's; null is no limit.

    Raises:
        RequestError: no such user, `version` is stale, a limit is unknown or cannot be.
    """
    stored = checked_overrides(overrides)
    async with desk.change(by) as change:
        await lock_quota(change, user_id)
        before = await change.fetchrow(_READ, user_id)
        demand_version(before, version, "user")
        row = before
        if not same_json(before["overrides"], stored):
            row = await change.fetchrow(_REPLACE, user_id, stored)
            await change.audit("override_quota", user_id, before, row)
        change.news.append(News(Subject.USER, user_id))
    return _made(row)


async def get_quota(postgres: PostgresPool, user_id: str) -> Quota:
    """A user's overrides, or `NOT_FOUND`."""
    row = await postgres.fetchrow(_READ, values.plain(user_id, param="id"))
    demand_version(row, None, "user")
    return _made(row)


async def lock_quota(change: Change, user_id: str) -> None:
    """One change of a user's quota at a time. `NOT_FOUND` without the user."""
    row = await change.fetchrow("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE", user_id)
    demand_version(row, None, "user")


def _made(row: Any) -> Quota:
    return Quota(**{**dict(row), "overrides": msgspec.json.decode(row["overrides"])})
