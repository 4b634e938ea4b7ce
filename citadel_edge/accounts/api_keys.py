"""API keys: their rows, their changes, their lists. The text of a key is answered once, when it is made."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from citadel_edge.accounts import keys, values
from citadel_edge.accounts.desk import Actor, Change, Desk, demand_version, invalid
from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.pages import Page, PageRequest, page
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

LONGEST_OVERLAP_S: Final = 30 * 86400.0
_COLUMNS: Final = "id, user_id, name, created_at, expires_at, revoked_at, last_used_at, replaced_by, version"


class KeyState(StrEnum):
    """How a key is: it opens doors, its time is over, or it was ended."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


_IN_STATE: Final = {
    None: "true",
    KeyState.ACTIVE: "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
    KeyState.EXPIRED: "revoked_at IS NULL AND expires_at <= now()",
    KeyState.REVOKED: "revoked_at IS NOT NULL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it may be shown. `replaced_by` is the key that a rotation put in its place."""

    id: str
    user_id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaced_by: str | None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """What is needed to make one. `expires_at` is aware of its time zone."""

    name: str = "default"
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey:
    """A key just made, and its text: the only time that anybody sees it."""

    key: ApiKey
    text: str = field(repr=False)


async def create_key(desk: Desk, user_id: str, new: NewApiKey, *, env: str, by: Actor) -> MadeKey:
    """Make a key of a user; `env` as `keys.env_of` answers it. `RequestError`: no such user, expired already."""
    if new.expires_at is not None:
        new = replace(new, expires_at=values.future(new.expires_at, desk.clock.now(), param="expires_at"))
    async with desk.change(by) as change:
        return await insert_key(change, desk.clock, user_id, new, env=env)


async def rotate_key(
    desk: Desk, user_id: str, key_id: str, *, env: str, overlap_s: float, by: Actor, version: int | None = None
) -> MadeKey:
    """Make a key in the place of another, which goes on for `overlap_s` seconds (0: it ends at once).

    Raises:
        RequestError: no such key, `version` is stale, it has ended or was rotated already, the overlap is too long.
    """
    if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
        raise invalid(f"Expected an overlap from 0 to {LONGEST_OVERLAP_S:.0f} seconds.", "overlap_s")
    async with desk.change(by) as change:
        before = await _locked(change, user_id, key_id, version)
        _demand_rotatable(before, desk.clock)
        new = NewApiKey(name=before["name"], expires_at=before["expires_at"])
        made = await insert_key(change, desk.clock, user_id, new, env=env)
        after = await change.fetchrow(
            "UPDATE api_keys SET replaced_by = $2, version = version + 1, "
            "revoked_at = CASE WHEN $3::float8 = 0 THEN now() END, "
            "expires_at = CASE WHEN $3 = 0 THEN expires_at "
            "ELSE least(expires_at, now() + make_interval(secs => $3)) END "
            "WHERE id = $1 RETURNING *",
            key_id,
            made.key.id,
            float(overlap_s),
        )
        await change.audit("rotate_key", key_id, before, after)
        change.news.append(News(Subject.KEY, key_id, ended=overlap_s == 0))
    return made


async def revoke_key(desk: Desk, user_id: str, key_id: str, *, by: Actor, version: int | None = None) -> ApiKey:
    """End a key everywhere; one that has been revoked stays so. `RequestError`: no such key, `version` is stale."""
    async with desk.change(by) as change:
        before = await _locked(change, user_id, key_id, version)
        if before["revoked_at"] is not None:
            return _made(before)
        after = await change.fetchrow(
            "UPDATE api_keys SET revoked_at = now(), version = version + 1 WHERE id = $1 RETURNING *", key_id
        )
        await change.audit("revoke_key", key_id, before, after)
        change.news.append(News(Subject.KEY, key_id, ended=True))
    return _made(after)


async def insert_key(change: Change, clock: Clock, user_id: str, new: NewApiKey, *, env: str) -> MadeKey:
    """Make a key inside a change that is under way."""
    key = keys.make(env, uuid7(clock), secrets.token_bytes(keys.SECRET_BYTES))
    row = await change.fetchrow(
        "INSERT INTO api_keys (id, user_id, name, hash, expires_at) VALUES ($1, $2, $3, $4, $5) RETURNING *",
        key.id,
        user_id,
        values.name(new.name),
        key.hash,
        new.expires_at,
    )
    await change.audit("create_key", key.id, after=row)
    return MadeKey(key=_made(row), text=key.text)


async def get_key(postgres: PostgresPool, user_id: str, key_id: str) -> ApiKey:
    """A key of a user, or `NOT_FOUND`."""
    row = await postgres.fetchrow(
        f"SELECT {_COLUMNS} FROM api_keys WHERE user_id = $1 AND id = $2",  # noqa: S608 - names of columns, ours
        values.plain(user_id, param="user"),
        values.plain(key_id, param="id"),
    )
    demand_version(row, None, "key")
    return _made(row)


async def find_key(postgres: PostgresPool, key_id: str) -> ApiKey:
    """A key, whosever it is, or `NOT_FOUND`."""
    query = f"SELECT {_COLUMNS} FROM api_keys WHERE id = $1"  # noqa: S608 - names of columns, ours
    row = await postgres.fetchrow(query, values.plain(key_id, param="id"))
    demand_version(row, None, "key")
    return _made(row)


async def first_keys(
    postgres: PostgresPool, user_ids: Sequence[str], request: PageRequest, *, state: str | None = None
) -> dict[str, Page[ApiKey]]:
    """The first page of each user's keys, oldest first, in one question; in one state if asked."""
    wanted = None if state is None else values.one_of(state, KeyState, param="state")
    rows = await postgres.fetch(
        f"SELECT {', '.join(f'k.{name}' for name in _COLUMNS.split(', '))} "  # noqa: S608 - as above
        "FROM unnest($1::text[]) AS u(id) CROSS JOIN LATERAL "
        f"(SELECT * FROM api_keys WHERE user_id = u.id AND {_IN_STATE[wanted]} ORDER BY id LIMIT $2) k ORDER BY k.id",
        list(user_ids),
        request.limit + 1,
    )
    found: dict[str, list[Any]] = {user_id: [] for user_id in user_ids}
    for row in rows:
        found[row["user_id"]].append(row)
    return {user_id: page(some, request, make=_made, key=lambda row: row["id"]) for user_id, some in found.items()}


def state_of(key: ApiKey, now: datetime) -> KeyState:
    """How a key is at this moment."""
    if key.revoked_at is not None:
        return KeyState.REVOKED
    return KeyState.ACTIVE if key.expires_at is None or key.expires_at > now else KeyState.EXPIRED


async def list_keys(
    postgres: PostgresPool, user_id: str, request: PageRequest, *, state: str | None = None
) -> Page[ApiKey]:
    """The keys of a user, oldest first, ended ones included; in one state if asked. `NOT_FOUND` without the user."""
    wanted = None if state is None else values.one_of(state, KeyState, param="state")
    known = await postgres.fetchrow("SELECT id FROM users WHERE id = $1", values.plain(user_id, param="user"))
    demand_version(known, None, "user")
    rows = await postgres.fetch(
        f"SELECT {_COLUMNS} FROM api_keys WHERE user_id = $3 AND ($1::text IS NULL OR id > $1) "  # noqa: S608 - as above
        f"AND {_IN_STATE[wanted]} ORDER BY id LIMIT $2",
        request.key,
        request.limit + 1,
        user_id,
    )
    return page(rows, request, make=_made, key=lambda row: row["id"])


async def _locked(change: Change, user_id: str, key_id: str, version: int | None) -> Any:
    row = await change.fetchrow("SELECT * FROM api_keys WHERE user_id = $1 AND id = $2 FOR UPDATE", user_id, key_id)
    demand_version(row, version, "key")
    return row


def _demand_rotatable(row: Any, clock: Clock) -> None:
    if row["revoked_at"] is not None or (row["expires_at"] is not None and row["expires_at"] <= clock.now()):
        raise RequestError(Code.CONFLICT, "The key has ended. Make a new one instead of rotating it.")
    if row["replaced_by"] is not None:
        raise RequestError(
            Code.CONFLICT, f"The key was rotated already: rotate {row['replaced_by']}, or revoke this one."
        )


def _made(row: Any) -> ApiKey:
    return ApiKey(**{name: value for name, value in dict(row).items() if name != "hash"})
