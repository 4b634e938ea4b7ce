"""Tiers: their rows, their changes, their lists. The fields are those of a tier in the configuration."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from citadel_edge.accounts import values
from citadel_edge.accounts.desk import Actor, Change, Desk, demand_version, invalid
from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.pages import Page, PageRequest, page
from citadel_edge.config.shape import OnRedisDown, TierConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.postgres import PostgresPool

_PLAIN: Final = (
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent",
    "tokens_per_day",
    "tokens_per_month",
    "usd_per_month",
    "burst",
    "priority",
    "models",
)
_SHAPE: Final = TypeAdapter(TierConfig)
_COLUMNS: Final = ("name", *_PLAIN, "requests_on_redis_down", "spend_on_redis_down")
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
    _checked(_fields(new))
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
    for unknown in fields.keys() - {*_PLAIN, "on_redis_down"}:
        raise invalid("A tier has no such field that can be changed.", unknown)
    async with desk.change(by) as change:
        before = await change.fetchrow("SELECT * FROM tiers WHERE name = $1 FOR UPDATE", name)
        demand_version(before, version, "tier")
        config = _checked({**_fields(_config(before)), **fields})
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


async def list_tiers(postgres: PostgresPool, request: PageRequest) -> Page[Tier]:
    """Tiers by name."""
    rows = await postgres.fetch(
        "SELECT * FROM tiers WHERE $1::text IS NULL OR name > $1 ORDER BY name LIMIT $2", request.key, request.limit + 1
    )
    return page(rows, request, make=_made, key=lambda row: row["name"])


def _values(config: TierConfig) -> tuple[Any, ...]:
    fields = asdict(config)
    down = config.on_redis_down
    return (config.name, *(fields[column] for column in _PLAIN), down.requests, down.spend)


def _fields(config: TierConfig) -> dict[str, Any]:
    return {"name": config.name, "on_redis_down": config.on_redis_down, **{n: getattr(config, n) for n in _PLAIN}}


def _checked(fields: Mapping[str, Any]) -> TierConfig:
    """A tier of these fields, or the first that is wrong as a `RequestError`."""
    try:
        return _SHAPE.validate_python(dict(fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise invalid(f"{first['msg']}.", ".".join(map(str, first["loc"]))) from None


def _config(row: Any) -> TierConfig:
    plain = {column: row[column] for column in _PLAIN if column != "models"}
    down = OnRedisDown(requests=row["requests_on_redis_down"], spend=row["spend_on_redis_down"])
    return TierConfig(name=row["name"], models=tuple(row["models"]), on_redis_down=down, **plain)


def _made(row: Any) -> Tier:
    return Tier(config=_config(row), version=row["version"], created_at=row["created_at"], updated_at=row["updated_at"])
