"""The first accounts, made once in the life of a database.

Decides what stands there on a first start: the tiers of the configuration, the organisation `default`, and, unless this
is production, the users `admin` and `demo` with a key each. In production the first key is made by hand, by
`first_admin_key`. Any number of instances may start at once: one makes them, the others find them.
"""

import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from citadel_edge.accounts.api_keys import NewApiKey, insert_key
from citadel_edge.accounts.desk import Actor, Change
from citadel_edge.accounts.ids import Kind, make_id
from citadel_edge.accounts.keys import env_of
from citadel_edge.accounts.organisations import DEFAULT
from citadel_edge.accounts.principal import Role
from citadel_edge.accounts.tiers import seed_tiers
from citadel_edge.config.shape import Config, TierConfig
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

LOCK: Final = 0x0C17ADE2
ADMIN: Final = "admin"
DEMO: Final = "demo"
UNLIMITED: Final = TierConfig(name="unlimited", priority=100)
FREE: Final = TierConfig(
    name="free",
    requests_per_minute=20,
    tokens_per_minute=20_000,
    concurrent=2,
    tokens_per_day=200_000,
    tokens_per_month=2_000_000,
    usd_per_month=5.0,
)
PRO: Final = TierConfig(
    name="pro",
    requests_per_minute=300,
    tokens_per_minute=300_000,
    concurrent=20,
    tokens_per_day=5_000_000,
    tokens_per_month=100_000_000,
    usd_per_month=200.0,
    priority=10,
)
BUILT_IN: Final = (FREE, PRO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The two first keys. Nobody can show them again."""

    admin_key: str = field(repr=False)
    demo_key: str = field(repr=False)

    def write(self, path: Path) -> None:
        """Keep them in a file that only its owner reads; whole or not at all. Blocks: call it in a thread."""
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


async def bootstrap(postgres: PostgresPool, config: Config, clock: Clock) -> Credentials | None:
    """Seed what is missing; the keys if this call made them, else None. Never makes keys in production.

    Raises:
        PostgresUnavailable: the database is away; nothing, or everything, was made.
    """
    async with postgres.transaction() as connection:
        change = Change(connection, Actor(who="bootstrap"))
        await _lock(change)
        first = await change.fetchrow("SELECT 1 FROM organisations LIMIT 1") is None
        await seed_tiers(change, config.tiers)
        if not first:
            return None
        await seed_tiers(change, (*(() if config.tiers else BUILT_IN), UNLIMITED))
        organisation_id = await _organisation(change, clock)
        if config.environment == "production":
            return None

        async def first_key(user_id: str) -> str:
            new = NewApiKey(name="first start")
            return (await insert_key(change, clock, user_id, new, env=env_of(config.environment))).text

        admin = await _user(change, clock, organisation_id, name=ADMIN, role=Role.ADMIN, tier=UNLIMITED.name)
        demo = await _user(change, clock, organisation_id, name=DEMO, role=Role.USER, tier=_demo_tier(config))
        return Credentials(admin_key=await first_key(admin), demo_key=await first_key(demo))


async def first_admin_key(postgres: PostgresPool, config: Config, clock: Clock, *, force: bool = False) -> str:
    """Make the user `admin`, if there is none, and a key for it; answers the key's text.

    Raises:
        RequestError: `CONFLICT` when an admin has a key that works, unless `force`.
    """
    async with postgres.transaction() as connection:
        change = Change(connection, Actor(who="keys bootstrap"))
        await _lock(change)
        if not force and await change.fetchrow(_WORKING_ADMIN_KEY):
            raise RequestError(Code.CONFLICT, "An admin has a key already. Use that one, or force a further one.")
        await seed_tiers(change, (UNLIMITED,))
        user_id = await _admin(change, clock)
        made = await insert_key(change, clock, user_id, NewApiKey(name="bootstrap"), env=env_of(config.environment))
        return made.text


_WORKING_ADMIN_KEY: Final = """
SELECT 1 FROM api_keys JOIN users ON users.id = api_keys.user_id
WHERE users.role = 'admin' AND users.state = 'active' AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > now()) LIMIT 1"""


async def _lock(change: Change) -> None:
    await change.connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)


async def _organisation(change: Change, clock: Clock) -> str:
    """The organisation `default`, made if it is not there."""
    row = await change.fetchrow("SELECT id FROM organisations WHERE name = $1", DEFAULT)
    if row is None:
        row = await change.fetchrow(
            "INSERT INTO organisations (id, name) VALUES ($1, $2) RETURNING *",
            make_id(Kind.ORGANISATION, uuid7(clock)),
            DEFAULT,
        )
        await change.audit("create_organisation", row["id"], after=row)
    return str(row["id"])


async def _admin(change: Change, clock: Clock) -> str:
    """The first active admin, made if there is none."""
    row = await change.fetchrow("SELECT id FROM users WHERE role = 'admin' AND state = 'active' ORDER BY id LIMIT 1")
    if row is not None:
        return str(row["id"])
    organisation_id = await _organisation(change, clock)
    taken = await change.fetchrow(
        "SELECT 1 FROM users WHERE organisation_id = $1 AND name = $2", organisation_id, ADMIN
    )
    name = f"{ADMIN}-{secrets.token_hex(3)}" if taken else ADMIN
    return await _user(change, clock, organisation_id, name=name, role=Role.ADMIN, tier=UNLIMITED.name)


async def _user(change: Change, clock: Clock, organisation_id: str, *, name: str, role: Role, tier: str) -> str:
    row: Any = await change.fetchrow(
        "INSERT INTO users (id, organisation_id, tier, role, name) VALUES ($1, $2, $3, $4, $5) RETURNING *",
        make_id(Kind.USER, uuid7(clock)),
        organisation_id,
        tier,
        role.value,
        name,
    )
    await change.audit("create_user", row["id"], after=row)
    return str(row["id"])


def _demo_tier(config: Config) -> str:
    """`free` where there is one, else the first configured tier."""
    names = [tier.name for tier in config.tiers or BUILT_IN]
    return FREE.name if FREE.name in names else names[0]
