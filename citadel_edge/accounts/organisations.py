"""Organisations: their rows, their changes, their lists."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from citadel_edge.accounts import values
from citadel_edge.accounts.desk import Actor, Desk, demand_version, holds, same_json
from citadel_edge.accounts.ids import Kind, make_id
from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.pages import Page, PageRequest, Where, page
from citadel_edge.accounts.sheets import checked_shared
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.ids import uuid7

DEFAULT: Final = "default"
_UPDATE: Final = (
    "UPDATE organisations SET name = $2, time_zone = $3, limits = $4, version = version + 1, updated_at = now() "
    "WHERE id = $1 RETURNING *"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """An organisation. Its calendar quotas turn at midnight of `time_zone`. `version` grows with each change.

    `limits` is what all its users share, as `SharedLimits` says it.
    """

    id: str
    name: str
    time_zone: str
    limits: Mapping[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrganisation:
    """What is needed to make one."""

    name: str
    time_zone: str = "UTC"
    limits: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationPatch:
    """What to change; None leaves a field as it is. `limits` are replaced as a whole."""

    name: str | None = None
    time_zone: str | None = None
    limits: dict[str, Any] | None = None


async def create_organisation(desk: Desk, new: NewOrganisation, *, by: Actor) -> Organisation:
    """Make an organisation. `RequestError`: the name is taken, the time zone unknown, a limit not possible."""
    time_zone = await asyncio.to_thread(values.time_zone, new.time_zone)
    async with desk.change(by) as change:
        row = await change.fetchrow(
            "INSERT INTO organisations (id, name, time_zone, limits) VALUES ($1, $2, $3, $4) RETURNING *",
            make_id(Kind.ORGANISATION, uuid7(desk.clock)),
            values.name(new.name),
            time_zone,
            checked_shared(new.limits),
        )
        await change.audit("create_organisation", row["id"], after=row)
    return _made(row)


async def update_organisation(
    desk: Desk, organisation_id: str, patch: OrganisationPatch, *, by: Actor, version: int | None = None
) -> Organisation:
    """Change an organisation. `RequestError`: it is not there, `version` is stale, a value is not possible."""
    zone = None if patch.time_zone is None else await asyncio.to_thread(values.time_zone, patch.time_zone)
    async with desk.change(by) as change:
        before = await change.fetchrow("SELECT * FROM organisations WHERE id = $1 FOR UPDATE", organisation_id)
        demand_version(before, version, "organisation")
        name = before["name"] if patch.name is None else values.name(patch.name)
        limits = before["limits"] if patch.limits is None else checked_shared(patch.limits)
        wanted = {"name": name, "time_zone": zone or before["time_zone"]}
        row = before
        if not (holds(before, wanted) and same_json(before["limits"], limits)):
            row = await change.fetchrow(_UPDATE, organisation_id, *wanted.values(), limits)
            await change.audit("update_organisation", organisation_id, before, row)
        change.news.append(News(Subject.ORGANISATION, organisation_id))
    return _made(row)


async def delete_organisation(desk: Desk, organisation_id: str, *, by: Actor, version: int | None = None) -> None:
    """Delete an organisation without users. `RequestError`: it is not there, `version` is stale, it has users."""
    async with desk.change(by) as change:
        before = await change.fetchrow("SELECT * FROM organisations WHERE id = $1 FOR UPDATE", organisation_id)
        demand_version(before, version, "organisation")
        if await change.fetchrow("SELECT 1 FROM users WHERE organisation_id = $1 LIMIT 1", organisation_id):
            raise RequestError(Code.CONFLICT, "The organisation still has users. Delete or move them first.")
        await change.connection.execute("DELETE FROM organisations WHERE id = $1", organisation_id)
        await change.audit("delete_organisation", organisation_id, before)
        change.news.append(News(Subject.ORGANISATION, organisation_id))


async def get_organisation(postgres: PostgresPool, organisation_id: str) -> Organisation:
    """An organisation by id, or `NOT_FOUND`."""
    row = await postgres.fetchrow(
        "SELECT * FROM organisations WHERE id = $1", values.plain(organisation_id, param="id")
    )
    demand_version(row, None, "organisation")
    return _made(row)


async def get_organisations(postgres: PostgresPool, ids: Sequence[str]) -> dict[str, Organisation]:
    """Those of these ids that there are, in one question."""
    rows = await postgres.fetch("SELECT * FROM organisations WHERE id = ANY($1::text[])", list(ids))
    return {row["id"]: _made(row) for row in rows}


async def list_organisations(
    postgres: PostgresPool, request: PageRequest, *, name: str | None = None
) -> Page[Organisation]:
    """Organisations, oldest first; those whose names begin so if asked."""
    where = Where().add("id > {}", request.key)
    where.add("starts_with(name, {})", values.maybe_plain(name, param="name"))
    query = f"SELECT * FROM organisations {where} ORDER BY id LIMIT {where.argument(request.limit + 1)}"  # noqa: S608
    rows = await postgres.fetch(query, *where.arguments)
    return page(rows, request, make=_made, key=lambda row: row["id"])


def _made(row: Any) -> Organisation:
    return Organisation(**{**dict(row), "limits": msgspec.json.decode(row["limits"])})
