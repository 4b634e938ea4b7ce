"""Where accounts are changed: one transaction with its line in the audit trail, then the news of it.

Decides that nothing is changed without a trace, and what a client is told when the database refuses. Refuses to know
what is changed: that is `organisations`, `tiers`, `users` and `api_keys`.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Self

import asyncpg

from citadel_edge.accounts.directory import Directory
from citadel_edge.accounts.news import REDIS_CHANNEL, News
from citadel_edge.accounts.principal import Principal
from citadel_edge.errors import Code, PostgresUnavailable, RedisUnavailable, RequestError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.postgres_faults import refusal
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock

_CONSTRAINTS: Final = {
    "organisations_name": (Code.CONFLICT, "There is an organisation of this name already.", "name"),
    "tiers_pkey": (Code.CONFLICT, "There is a tier of this name already.", "name"),
    "users_name": (Code.CONFLICT, "There is a user of this name in the organisation already.", "name"),
    "users_organisation": (Code.INVALID_REQUEST, "There is no such organisation.", "organisation"),
    "users_tier": (Code.INVALID_REQUEST, "There is no such tier.", "tier"),
    "quotas_user": (Code.NOT_FOUND, "There is no such user.", None),
    "top_ups_user": (Code.NOT_FOUND, "There is no such user.", None),
    "api_keys_user": (Code.NOT_FOUND, "There is no such user.", None),
}

_OBJECTS: Final = frozenset({"limits", "overrides", "by_model", "by_endpoint"})
"""Columns of JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who changes something: a user, by a key, in a request; or a part of the process (`bootstrap`)."""

    who: str
    key_id: str | None = None
    request_id: str | None = None

    @classmethod
    def of(cls, principal: Principal, request_id: str) -> "Actor":
        """The caller of a request."""
        return cls(who=principal.user_id, key_id=principal.key_id, request_id=request_id)


@dataclass(slots=True)
class Change:
    """A transaction under way."""

    connection: Any
    actor: Actor
    news: list[News] = field(default_factory=list)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row of a statement in this transaction, or None."""
        return await self.connection.fetchrow(query, *args)

    async def audit(self, action: str, subject: str, before: Any = None, after: Any = None) -> None:
        """Write the line of this change; `before` and `after` are rows, whose secrets are left out."""
        await self.connection.execute(
            "INSERT INTO audit (who, key_id, action, subject, before, after, request_id) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7)",
            self.actor.who,
            self.actor.key_id,
            action,
            subject,
            _json(before),
            _json(after),
            self.actor.request_id,
        )


class Desk:
    """What changes are made with. The directory of this process takes each change in before it is answered."""

    def __init__(self, *, postgres: PostgresPool, redis: RedisPool, directory: Directory, clock: Clock) -> None:
        self.clock = clock
        self._postgres = postgres
        self._redis = redis
        self._directory = directory
        self._under_way: Change | None = None

    def inside(self, change: Change) -> Self:
        """This desk inside a change that is under way: what is changed by it belongs to that one."""
        inner = copy(self)
        inner._under_way = change  # noqa: SLF001 - a desk's own
        return inner

    @asynccontextmanager
    async def change(self, actor: Actor) -> AsyncIterator[Change]:
        """One transaction. After its commit the news are taken in here and sent to the other instances.

        Raises:
            RequestError: the body's own, or what a refused constraint means; nothing was changed.
            PostgresUnavailable: the database is away; if it went during the commit, the change may have been made.
        """
        if self._under_way is not None:
            yield self._under_way
            return
        try:
            async with self._postgres.transaction() as connection:
                change = Change(connection, actor)
                yield change
        except (asyncpg.UniqueViolationError, asyncpg.ForeignKeyViolationError) as error:
            raise _explained(error) from error
        except asyncpg.PostgresError as error:
            refused = refusal(error)
            if refused is None:
                raise
            raise refused from error
        await self._tell(change.news)

    async def _tell(self, news: list[News]) -> None:
        """Triggers tell the other instances as well: Redis is the second way, and may be away."""
        for item in news:
            self._directory.apply(item)
        with suppress(RedisUnavailable):
            for item in news:
                await self._redis.publish(REDIS_CHANNEL, str(item))


def demand_version(row: Any, expected: int | None, what: str) -> None:
    """Raise `NOT_FOUND` without a row, and `STALE` when the caller has seen another version than the row's."""
    if row is None:
        raise RequestError(Code.NOT_FOUND, f"There is no such {what}.")
    if expected is not None and row["version"] != expected:
        raise RequestError(Code.STALE, f"The {what} was changed meanwhile. Read it again, then repeat the change.")


def holds(row: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether a row has these values already: then there is nothing to change and nothing for the trail.

    Its news are told again all the same: those of a change whose commit was not answered never were.
    """
    return all(row[column] == value for column, value in wanted.items())


def same_json(one: str, other: str) -> bool:
    """Whether two columns of JSON say the same, however they are spelled."""
    return bool(json.loads(one) == json.loads(other))


def invalid(message: str, param: str) -> RequestError:
    """A value that a client has to correct."""
    return RequestError(Code.INVALID_REQUEST, message, param=param)


def _explained(error: Any) -> Exception:
    explanation = _CONSTRAINTS.get(error.constraint_name)
    if explanation is None:
        return PostgresUnavailable("PostgreSQL refused the change for a reason this version does not know")
    code, message, param = explanation
    return RequestError(code, message, param=param)


def _json(row: Mapping[str, Any] | None) -> str | None:
    """A row for the trail, without what would let somebody in."""
    if row is None:
        return None
    shown = {name: value for name, value in dict(row).items() if name != "hash"}
    for name in _OBJECTS & shown.keys():
        shown[name] = json.loads(shown[name])
    return json.dumps(shown, default=_plain)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)
