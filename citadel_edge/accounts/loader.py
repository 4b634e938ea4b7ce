"""Reading callers from the accounts' database, once at a time each: by their keys, or users by their ids.

Decides how many ask PostgreSQL at once and that an answer overtaken by news is asked for again. One query reads who it
is and all that limits them. Refuses to know what is remembered and who is let in.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any, Final

import asyncpg
import msgspec

from citadel_edge.accounts.entitlement import Entitlement, TopUp
from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.accounts.records import FRESH_S, RECORDS, Record
from citadel_edge.accounts.sheets import sheet_of, tier_sheet
from citadel_edge.accounts.zones import Zones
from citadel_edge.config.limits import LIMIT_NAMES
from citadel_edge.errors import PostgresUnavailable
from citadel_edge.storage.patience import patience
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock

AT_ONCE: Final = 4
LOAD_S: Final = 2.0
ATTEMPTS: Final = 3
_USER: Final = f"""
u.id AS user_id, u.organisation_id, u.name, u.role, u.tier, u.state,
t.models, t.priority, t.burst, t.requests_on_redis_down, t.spend_on_redis_down,
{", ".join(f"t.{name}" for name in LIMIT_NAMES)}, t.by_model, t.by_endpoint,
q.overrides, o.limits, o.time_zone, given.top_ups"""
# Those whose time is over are one sum: they only balance what was used of them.
_FROM: Final = """
JOIN tiers t ON t.name = u.tier
JOIN organisations o ON o.id = u.organisation_id
LEFT JOIN quotas q ON q.user_id = u.id
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(tokens, nano_usd, ends)) AS top_ups FROM (
        SELECT least(coalesce(sum(tokens), 0), 1e15)::bigint AS tokens,
               least(coalesce(sum(usd), 0) * 1e9, 9e15)::bigint AS nano_usd,
               extract(epoch FROM min(ends)) AS ends
        FROM (SELECT tokens, usd, least(expires_at, withdrawn_at) AS ends FROM top_ups WHERE user_id = u.id) AS given
        GROUP BY CASE WHEN ends <= now() THEN 'epoch' ELSE ends END
    ) AS sums
) AS given ON true"""
OF_KEYS: Final = f"""
SELECT k.id, k.id AS key_id, k.hash, k.expires_at, k.revoked_at, {_USER}
FROM api_keys k JOIN users u ON u.id = k.user_id {_FROM}
WHERE k.id = ANY($1::text[])"""  # noqa: S608 - names of columns, ours
OF_USERS: Final = f"""
SELECT u.id, '' AS key_id, ''::bytea AS hash, NULL::timestamptz AS expires_at, NULL::timestamptz AS revoked_at, {_USER}
FROM users u {_FROM}
WHERE u.id = ANY($1::text[])"""  # noqa: S608 - names of columns, ours


class Loader:
    """Reads records by `query`: `OF_KEYS` or `OF_USERS`.

    Args:
        postgres: may be away.
        query: whose ids are asked for.
        zones: of the organisations.
        clock: for the time at which a record was true.
        epochs: answers the present subscriptions of the news, to be kept with what is read.
    """

    def __init__(
        self,
        postgres: PostgresPool,
        query: str,
        *,
        zones: Zones,
        clock: Clock,
        epochs: Callable[[], tuple[int, ...]],
    ) -> None:
        self._postgres = postgres
        self._query = query
        self._zones = zones
        self._clock = clock
        self._epochs = epochs
        self._flights: dict[str, asyncio.Future[Record | None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._spoiled = 0
        self._entitlements: OrderedDict[str, Entitlement] = OrderedDict()

    def spoil(self) -> None:
        """News came: what is being read at this moment may be older than they are."""
        self._spoiled += 1

    async def load(self, identity: str, remember: Callable[[str, Record | None], None]) -> Record | None:
        """The record of an id, or None if there is none; `remember` is called once, in the turn the answer arrives.

        Whoever comes first asks, the others wait for the same answer; if the first is cancelled, the next asks.

        Raises:
            PostgresUnavailable: the database is away, or so many ask that this one did not get its turn.
        """
        while (flight := self._flights.get(identity)) is not None:
            await asyncio.wait({flight})
            if not flight.cancelled():
                return flight.result()
        flight = self._flights[identity] = asyncio.get_running_loop().create_future()
        try:
            record = await self._current(identity)
            remember(identity, record)
            flight.set_result(record)
        except PostgresUnavailable as error:
            flight.set_exception(error)
            flight.exception()  # seen: there may be nobody else to see it
            raise
        finally:
            del self._flights[identity]
            flight.cancel()
        return record

    async def load_many(self, identities: Sequence[str]) -> dict[str, Record]:
        """The records of those ids that exist, by id."""
        made_s, epochs = self._clock.monotonic_s(), self._epochs()
        try:
            rows = await self._postgres.fetch(self._query, identities, timeout_s=LOAD_S)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise PostgresUnavailable("PostgreSQL has no accounts yet: the migrations are still to run") from error
        return {row["id"]: self._record(row, await self._zones.of(row["time_zone"]), made_s, epochs) for row in rows}

    async def _current(self, identity: str) -> Record | None:
        """Read until no news came meanwhile; under a storm of news about others, the last answer has to do."""
        record = None
        try:
            async with patience(LOAD_S), self._slots:
                for _ in range(ATTEMPTS):
                    before = self._spoiled
                    record = (await self.load_many([identity])).get(identity)
                    if self._spoiled == before:
                        break
        except TimeoutError:
            raise PostgresUnavailable("PostgreSQL was asked for more keys at once than it answers in time") from None
        return record

    def _record(self, row: Any, zone: tzinfo, made_s: float, epochs: tuple[int, ...]) -> Record:
        return Record(
            principal=_principal(row, self._shared(row["user_id"], _entitlement(row, zone))),
            hash=row["hash"],
            expires_unix_s=row["expires_at"].timestamp() if row["expires_at"] else None,
            revoked=row["revoked_at"] is not None,
            suspended=row["state"] == "suspended",
            made_s=made_s,
            epochs=epochs,
            fresh_until_s=made_s + FRESH_S,
        )

    def _shared(self, user_id: str, entitlement: Entitlement) -> Entitlement:
        """The same object for all keys of a user, for as long as it says the same: plans are made by it."""
        known = self._entitlements.pop(user_id, None)
        kept = self._entitlements[user_id] = entitlement if known is None or known != entitlement else known
        if len(self._entitlements) > RECORDS:
            self._entitlements.popitem(last=False)
        return kept


def _principal(row: Any, entitlement: Entitlement) -> Principal:
    return Principal(
        organisation_id=row["organisation_id"],
        user_id=row["user_id"],
        key_id=row["key_id"],
        name=row["name"],
        role=Role(row["role"]),
        tier=row["tier"],
        models=tuple(row["models"]),
        priority=row["priority"],
        entitlement=entitlement,
        expires_unix_s=row["expires_at"].timestamp() if row["expires_at"] else None,
    )


def _entitlement(row: Any, zone: tzinfo) -> Entitlement:
    given = () if row["top_ups"] is None else msgspec.json.decode(row["top_ups"])
    return Entitlement(
        tier=tier_sheet(row),
        overrides=sheet_of(row["overrides"]),
        organisation=sheet_of(row["limits"]),
        burst=row["burst"],
        zone=zone,
        requests_when_away=row["requests_on_redis_down"] == "open",
        spend_when_away=row["spend_on_redis_down"] == "open",
        top_ups=tuple(TopUp(tokens=tokens, nano_usd=usd, expires_unix_s=ends) for tokens, usd, ends in given),
    )
