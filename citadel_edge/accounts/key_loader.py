"""Reading keys from the accounts' database, once at a time each.

Decides how many ask PostgreSQL at once and that an answer overtaken by news is asked for again. Refuses to know what
is remembered and who is let in.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg

from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.accounts.records import FRESH_S, Record
from citadel_edge.errors import PostgresUnavailable
from citadel_edge.storage.patience import patience
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock

AT_ONCE: Final = 4
LOAD_S: Final = 2.0
ATTEMPTS: Final = 3
_LOAD: Final = """
SELECT k.id, k.hash, k.expires_at, k.revoked_at, k.user_id, u.organisation_id, u.name, u.role, u.tier, u.state,
       t.models, t.priority
FROM api_keys k JOIN users u ON u.id = k.user_id JOIN tiers t ON t.name = u.tier
WHERE k.id = ANY($1::text[])"""


class KeyLoader:
    """`epochs` answers the present subscriptions of the news, to be kept with what is read."""

    def __init__(self, postgres: PostgresPool, *, clock: Clock, epochs: Callable[[], tuple[int, ...]]) -> None:
        self._postgres = postgres
        self._clock = clock
        self._epochs = epochs
        self._flights: dict[str, asyncio.Future[Record | None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._spoiled = 0

    def spoil(self) -> None:
        """News came: what is being read at this moment may be older than they are."""
        self._spoiled += 1

    async def load(self, key_id: str, remember: Callable[[str, Record | None], None]) -> Record | None:
        """The record of a key, or None if there is none; `remember` is called once, in the turn the answer arrives.

        Whoever comes first asks, the others wait for the same answer; if the first is cancelled, the next asks.

        Raises:
            PostgresUnavailable: the database is away, or so many ask that this one did not get its turn.
        """
        while (flight := self._flights.get(key_id)) is not None:
            await asyncio.wait({flight})
            if not flight.cancelled():
                return flight.result()
        flight = self._flights[key_id] = asyncio.get_running_loop().create_future()
        try:
            record = await self._current(key_id)
            remember(key_id, record)
            flight.set_result(record)
        except PostgresUnavailable as error:
            flight.set_exception(error)
            flight.exception()  # seen: there may be nobody else to see it
            raise
        finally:
            del self._flights[key_id]
            flight.cancel()
        return record

    async def load_many(self, key_ids: Sequence[str]) -> dict[str, Record]:
        """The records of those keys that exist, by id."""
        made_s, epochs = self._clock.monotonic_s(), self._epochs()
        try:
            rows = await self._postgres.fetch(_LOAD, key_ids, timeout_s=LOAD_S)
        except asyncpg.UndefinedTableError as error:
            raise PostgresUnavailable("PostgreSQL has no accounts yet: the migrations are still to run") from error
        return {row["id"]: _record(row, made_s, epochs) for row in rows}

    async def _current(self, key_id: str) -> Record | None:
        """Read until no news came meanwhile; under a storm of news about others, the last answer has to do."""
        record = None
        try:
            async with patience(LOAD_S), self._slots:
                for _ in range(ATTEMPTS):
                    before = self._spoiled
                    record = (await self.load_many([key_id])).get(key_id)
                    if self._spoiled == before:
                        break
        except TimeoutError:
            raise PostgresUnavailable("PostgreSQL was asked for more keys at once than it answers in time") from None
        return record


def _record(row: Any, made_s: float, epochs: tuple[int, ...]) -> Record:
    return Record(
        principal=Principal(
            organisation_id=row["organisation_id"],
            user_id=row["user_id"],
            key_id=row["id"],
            name=row["name"],
            role=Role(row["role"]),
            tier=row["tier"],
            models=tuple(row["models"]),
            priority=row["priority"],
        ),
        hash=row["hash"],
        expires_unix_s=row["expires_at"].timestamp() if row["expires_at"] else None,
        revoked=row["revoked_at"] is not None,
        suspended=row["state"] == "suspended",
        made_s=made_s,
        epochs=epochs,
        fresh_until_s=made_s + FRESH_S,
    )
