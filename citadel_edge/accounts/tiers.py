"""Tiers: their rows, their changes, their lists. The fields are those of a tier in the configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from citadel_edge.accounts import values
from citadel_edge.accounts.desk import Actor, Change, Desk, demand_version, invalid
from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.pages import Page, PageRequest, page
from citadel_edge.accounts.sheets import checked_tier, stored_sheets
from citadel_edge.config.limits import LIMIT_NAMES, LimitsConfig
from citadel_edge.config.shape import OnRedisDown, TierConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.postgres import PostgresPool

_PLAIN: Final = (*LIMIT_NAMES, "burst", "priority", "models")
_SHEETS: Final = ("by_model", "by_endpoint")
_COLUMNS: Final = ("name", *_PLAIN, *_SHEETS, "requests_on_redis_down", "spend_on_redis_down")
_INSERT: Final = (
    f"INSERT INTO tiers ({', '.join(_COLUMNS)}) "  # noqa: S608 - names of columns, ours
    f"VALUES ({', '.join(f'${number}' for number in range(1, len(_COLUMNS) + 1))})"
)
_UPDATE: Final = (
    f"UPDATE tiers SET {', '.join(f'{column} = ${number}' for number, column in enumerate(_COLUMNS, 1))}, "  # noqa: S608
    "version = version + 1, updated_at = now() WHERE name = $1 RETURNING *"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A tier. `config` is all its limits; `version` grows with each change."""

    config: TierConfig
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def name(self) -> str:
        """What it is called; a tier has no other id."""
        return self.config.name


async def create_tier(desk: Desk, new: TierConfig, *, by: Actor) -> Tier:
    """Make a tier. `RequestError`: the name is taken."""
    checked_tier(_fields(new))
    async with desk.change(by) as change:
        row = await change.fetchrow(f"{_INSERT} RETURNING *", *_values(new))
        await change.audit("create_tier", new.name, after=row)
    return _made(row)


async def update_tier(
    desk: Desk, name: str, fields: Mapping[str, Any], *, by: Actor, version: int | None = None
) -> Tier:
    """Change the given fields of a tier (of `TierConfig`, all but `name`; a limit of None is no limit).

    Raises:
        RequestError: it is not there, `version` is stale, a field is unknown.
    """
    for unknown in fields.keys() - {*_PLAIN, *_SHEETS, "on_redis_down"}:
        raise invalid("A tier has no such field that can be changed.", unknown)
    async with desk.change(by) as change:
        before = await change.fetchrow("SELECT * FROM tiers WHERE name = $1 FOR UPDATE", name)
        demand_version(before, version, "tier")
        was, row = _config(before), before
        config = checked_tier({**_fields(was), **fields})
        if config != was:
            row = await change.fetchrow(_UPDATE, *_values(config))
            await change.audit("update_tier", name, before, row)
        change.news.append(News(Subject.TIER, name))
    return _made(row)


async def delete_tier(desk: Desk, name: str, *, by: Actor, version: int | None = None) -> None:
    """Delete a tier that nobody has. `RequestError`: it is not there, `version` is stale, it is in use."""
    async with desk.change(by) as change:
        before = await change.fetchrow("SELECT * FROM tiers WHERE name = $1 FOR UPDATE", name)
        demand_version(before, version, "tier")
        if await change.fetchrow("SELECT 1 FROM users WHERE tier = $1 LIMIT 1", name):
            raise RequestError(Code.CONFLICT, "The tier still has users. Give them another tier first.")
        await change.connection.execute("DELETE FROM tiers WHERE name = $1", name)
        await change.audit("delete_tier", name, before)
        change.news.append(News(Subject.TIER, name))


async def seed_tiers(change: Change, tiers: tuple[TierConfig, ...]) -> None:
    """Insert those tiers that are not there; what is there belongs to the operators and stays."""
    for tier in tiers:
        row = await change.fetchrow(f"{_INSERT} ON CONFLICT (name) DO NOTHING RETURNING *", *_values(tier))
        if row is not None:
            await change.audit("seed_tier", tier.name, after=row)


async def get_tier(postgres: PostgresPool, name: str) -> Tier:
    """A tier by name, or `NOT_FOUND`."""
    row = await postgres.fetchrow("SELECT * FROM tiers WHERE name = $1", values.plain(name, param="tier"))
    demand_version(row, None, "tier")
    return _made(row)


async def get_tiers(postgres: PostgresPool, names: Sequence[str]) -> dict[str, Tier]:
    """Those of these names that there are, in one question."""
    rows = await postgres.fetch("SELECT * FROM tiers WHERE name = ANY($1::text[])", list(names))
    return {row["name"]: _made(row) for row in rows}


async def list_tiers(postgres: PostgresPool, request: PageRequest) -> Page[Tier]:
    """Tiers by name."""
    rows = await postgres.fetch(
        "SELECT * FROM tiers WHERE $1::text IS NULL OR name > $1 ORDER BY name LIMIT $2", request.key, request.limit + 1
    )
    return page(rows, request, make=_made, key=lambda row: row["name"])


def shown_tier(tier: Tier) -> dict[str, Any]:
    """A tier as clients see it: the fields of the configuration, by their names."""
    sheets = {column: stored_sheets(getattr(tier.config, column)) for column in _SHEETS}
    about = {"version": tier.version, "created_at": tier.created_at, "updated_at": tier.updated_at}
    return {**_fields(tier.config), **sheets, **about}


def _values(config: TierConfig) -> tuple[Any, ...]:
    sheets = (msgspec.json.encode(stored_sheets(getattr(config, column))).decode() for column in _SHEETS)
    down = config.on_redis_down
    return (config.name, *(getattr(config, column) for column in _PLAIN), *sheets, down.requests, down.spend)


def _fields(config: TierConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("name", *_PLAIN, *_SHEETS, "on_redis_down")}


def _config(row: Any) -> TierConfig:
    fields: dict[str, Any] = {column: row[column] for column in _PLAIN if column != "models"}
    fields |= {column: _sheets(row[column]) for column in _SHEETS}
    down = OnRedisDown(requests=row["requests_on_redis_down"], spend=row["spend_on_redis_down"])
    return TierConfig(name=row["name"], models=tuple(row["models"]), on_redis_down=down, **fields)


def _sheets(stored: str) -> dict[str, LimitsConfig]:
    return {name: LimitsConfig(**values) for name, values in msgspec.json.decode(stored).items()}


def _made(row: Any) -> Tier:
    return Tier(config=_config(row), version=row["version"], created_at=row["created_at"], updated_at=row["updated_at"])
