"""Users: their rows, their changes, their lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from citadel_edge.accounts import values
from citadel_edge.accounts.desk import Actor, Change, Desk, demand_version, holds, invalid
from citadel_edge.accounts.ids import Kind, make_id
from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.organisations import DEFAULT
from citadel_edge.accounts.pages import Page, PageRequest, Where, page
from citadel_edge.accounts.principal import Role
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.ids import uuid7

ADMINS_LOCK: Final = 0x0C17ADE3
_CHANGED: Final = ("organisation_id", "tier", "role", "name", "state")
_UPDATE: Final = (
    f"UPDATE users SET {', '.join(f'{column} = ${number}' for number, column in enumerate(_CHANGED, 2))}, "  # noqa: S608
    "version = version + 1, updated_at = now() WHERE id = $1 RETURNING *"
)


class UserState(StrEnum):
    """A suspended user's keys are known, and refused."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of an organisation. `version` grows with each change."""

    id: str
    organisation_id: str
    tier: str
    role: Role
    name: str
    state: UserState
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """What is needed to make one. `organisation` is an id or a name."""

    name: str
    tier: str
    organisation: str = DEFAULT
    role: str = Role.USER.value


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPatch:
    """What to change; None leaves a field as it is."""

    name: str | None = None
    tier: str | None = None
    organisation: str | None = None
    role: str | None = None
    state: UserState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFilter:
    """Which users are asked for; None is any. `organisation` is an id, `name` the beginning of a name."""

    organisation: str | None = None
    tier: str | None = None
    role: str | None = None
    state: str | None = None
    name: str | None = None


async def create_user(desk: Desk, new: NewUser, *, by: Actor) -> User:
    """Make a user. `RequestError`: the name is taken, the tier, role or organisation unknown."""
    async with desk.change(by) as change:
        row = await change.fetchrow(
            "INSERT INTO users (id, organisation_id, tier, role, name) VALUES ($1, $2, $3, $4, $5) RETURNING *",
            make_id(Kind.USER, uuid7(desk.clock)),
            await _organisation(change, new.organisation),
            new.tier,
            values.role(new.role).value,
            values.name(new.name),
        )
        await change.audit("create_user", row["id"], after=row)
    return _made(row)


async def update_user(desk: Desk, user_id: str, patch: UserPatch, *, by: Actor, version: int | None = None) -> User:
    """Change, suspend or reactivate a user. `RequestError`: not there, `version` is stale, a value is not possible."""
    async with desk.change(by) as change:
        before = await change.fetchrow("SELECT * FROM users WHERE id = $1 FOR UPDATE", user_id)
        demand_version(before, version, "user")
        if patch.role not in (None, Role.ADMIN.value) or patch.state is UserState.SUSPENDED:
            await _demand_another_admin(change, before)
        wanted = {**dict(before), **await _named(change, patch)}
        row = before
        if not holds(before, wanted):
            row = await change.fetchrow(_UPDATE, user_id, *(wanted[column] for column in _CHANGED))
            await change.audit("update_user", user_id, before, row)
        change.news.append(News(Subject.USER, user_id, ended=_ends(before, row)))
    return _made(row)


async def _named(change: Change, patch: UserPatch) -> dict[str, str]:
    """What a patch changes, by column."""
    named = {
        "organisation_id": None if patch.organisation is None else await _organisation(change, patch.organisation),
        "tier": patch.tier,
        "role": None if patch.role is None else values.role(patch.role).value,
        "name": None if patch.name is None else values.name(patch.name),
        "state": None if patch.state is None else patch.state.value,
    }
    return {column: value for column, value in named.items() if value is not None}


def _ends(before: Any, after: Any) -> bool:
    """Whether what runs in the user's name was begun with rights that are no more: it has to stop."""
    lowered = not Role(after["role"]).may(Role(before["role"]))
    moved = after["organisation_id"] != before["organisation_id"]
    return after["state"] == UserState.SUSPENDED or lowered or moved


async def delete_user(desk: Desk, user_id: str, *, by: Actor, version: int | None = None) -> None:
    """Delete a user and the keys. Usage and audit keep the id. `RequestError`: not there, `version` is stale."""
    async with desk.change(by) as change:
        before = await change.fetchrow("SELECT * FROM users WHERE id = $1 FOR UPDATE", user_id)
        demand_version(before, version, "user")
        await _demand_another_admin(change, before)
        await change.connection.execute("DELETE FROM users WHERE id = $1", user_id)
        await change.audit("delete_user", user_id, before)
        change.news.append(News(Subject.USER, user_id, ended=True))


async def get_user(postgres: PostgresPool, user_id: str) -> User:
    """A user by id, or `NOT_FOUND`."""
    row = await postgres.fetchrow("SELECT * FROM users WHERE id = $1", values.plain(user_id, param="id"))
    demand_version(row, None, "user")
    return _made(row)


async def get_users(postgres: PostgresPool, ids: Sequence[str]) -> dict[str, User]:
    """Those of these ids that there are, in one question."""
    rows = await postgres.fetch("SELECT * FROM users WHERE id = ANY($1::text[])", list(ids))
    return {row["id"]: _made(row) for row in rows}


async def list_users(postgres: PostgresPool, request: PageRequest, wanted: UserFilter | None = None) -> Page[User]:
    """Users, oldest first. `RequestError`: a role or state is none of ours."""
    wanted = UserFilter() if wanted is None else wanted
    where = Where().add("id > {}", request.key)
    where.add("organisation_id = {}", values.maybe_plain(wanted.organisation, param="organisation"))
    where.add("tier = {}", values.maybe_plain(wanted.tier, param="tier"))
    if wanted.role is not None:
        where.add("role = {}", values.role(wanted.role).value)
    if wanted.state is not None:
        where.add("state = {}", values.one_of(wanted.state, UserState, param="state").value)
    where.add("starts_with(name, {})", values.maybe_plain(wanted.name, param="name"))
    query = f"SELECT * FROM users {where} ORDER BY id LIMIT {where.argument(request.limit + 1)}"  # noqa: S608 - ours
    rows = await postgres.fetch(query, *where.arguments)
    return page(rows, request, make=_made, key=lambda row: row["id"])


async def _demand_another_admin(change: Change, user: Any) -> None:
    """Refuse to lose the last active admin; one change of admins at a time, so that two cannot lose each other."""
    if (user["role"], user["state"]) != (Role.ADMIN, UserState.ACTIVE):
        return
    await change.connection.execute("SELECT pg_advisory_xact_lock($1)", ADMINS_LOCK)
    others = "SELECT 1 FROM users WHERE role = 'admin' AND state = 'active' AND id <> $1 LIMIT 1"
    if await change.fetchrow(others, user["id"]) is None:
        raise RequestError(Code.CONFLICT, "This is the last active admin. Make another one first.")


async def _organisation(change: Change, id_or_name: str) -> str:
    row = await change.fetchrow(
        "SELECT id FROM organisations WHERE id = $1 OR name = $1 ORDER BY id <> $1 LIMIT 1 FOR SHARE", id_or_name
    )
    if row is None:
        raise invalid("There is no such organisation: expected an id or a name.", "organisation")
    return str(row["id"])


def _made(row: Any) -> User:
    return User(**{**dict(row), "role": Role(row["role"]), "state": UserState(row["state"])})
