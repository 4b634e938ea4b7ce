"""Top-ups: tokens or dollars given on top of a user's quotas. Their rows, their changes, their lists.

Decides how much may be given at once and that one is never changed: it is taken back, and another is given. One that
was taken back is shown no more, but its row stays: what had been used of it is balanced by it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from citadel_edge.accounts import values
from citadel_edge.accounts.desk import Actor, Change, Desk, demand_version, invalid
from citadel_edge.accounts.ids import Kind, make_id
from citadel_edge.accounts.news import News, Subject
from citadel_edge.accounts.pages import Page, PageRequest, page
from citadel_edge.accounts.quotas import lock_quota
from citadel_edge.config.limits import MOST_UNITS, MOST_USD
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.ids import uuid7

MOST: Final = 1000
"""So many top-ups of a user may count at a time: each is read with the user's keys."""
_DECIMALS: Final = 9
_COLUMNS: Final = "id, user_id, tokens, usd, reason, expires_at, created_at, created_by"
_COUNTING: Final = "user_id = $1 AND withdrawn_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenTopUp:
    """A top-up. Either `tokens` or `usd` is set; without `expires_at` it counts until it is used up."""

    id: str
    user_id: str
    tokens: int | None
    usd: float | None
    reason: str
    expires_at: datetime | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopUp:
    """What is needed to give one: exactly one of `tokens` and `usd`, and why. `expires_at` is aware of its zone."""

    reason: str
    tokens: int | None = None
    usd: float | None = None
    expires_at: datetime | None = None


async def create_top_up(desk: Desk, user_id: str, new: NewTopUp, *, by: Actor) -> GivenTopUp:
    """Give tokens or dollars. `RequestError`: no such user, a value is not possible, more counts already than may."""
    usd = _checked(new, desk)
    async with desk.change(by) as change:
        await lock_quota(change, user_id)
        await _demand_room(change, user_id, new)
        row = await change.fetchrow(
            "INSERT INTO top_ups (id, user_id, tokens, usd, reason, expires_at, created_by) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *",
            make_id(Kind.TOP_UP, uuid7(desk.clock)),
            user_id,
            new.tokens,
            usd,
            values.text(new.reason, param="reason"),
            new.expires_at,
            by.who,
        )
        await change.audit("create_top_up", user_id, after=row)
        change.news.append(News(Subject.USER, user_id))
    return _made(row)


async def delete_top_up(desk: Desk, user_id: str, top_up_id: str, *, by: Actor, version: int | None = None) -> None:
    """Take back what is left of a top-up. `RequestError`: no such top-up, `version` is none of its one."""
    async with desk.change(by) as change:
        await lock_quota(change, user_id)
        row = await change.fetchrow(
            "SELECT *, 1 AS version FROM top_ups WHERE user_id = $1 AND id = $2 AND withdrawn_at IS NULL",
            user_id,
            top_up_id,
        )
        demand_version(row, version, "top-up")
        after = await change.fetchrow("UPDATE top_ups SET withdrawn_at = now() WHERE id = $1 RETURNING *", top_up_id)
        await change.audit("delete_top_up", user_id, row, after)
        change.news.append(News(Subject.USER, user_id))


async def get_top_up(postgres: PostgresPool, top_up_id: str) -> GivenTopUp:
    """A top-up that was not taken back, whosever it is, or `NOT_FOUND`."""
    query = f"SELECT {_COLUMNS}, 1 AS version FROM top_ups WHERE id = $1 AND withdrawn_at IS NULL"  # noqa: S608 - as below
    row = await postgres.fetchrow(query, values.plain(top_up_id, param="id"))
    demand_version(row, None, "top-up")
    return _made({name: row[name] for name in _COLUMNS.split(", ")})


async def list_top_ups(postgres: PostgresPool, user_id: str, request: PageRequest) -> Page[GivenTopUp]:
    """The top-ups of a user, oldest first, those whose time is over included. `NOT_FOUND` without the user."""
    known = await postgres.fetchrow("SELECT id FROM users WHERE id = $1", values.plain(user_id, param="user"))
    demand_version(known, None, "user")
    rows = await postgres.fetch(
        f"SELECT {_COLUMNS} FROM top_ups WHERE user_id = $3 AND withdrawn_at IS NULL "  # noqa: S608 - names of columns
        "AND ($1::text IS NULL OR id > $1) ORDER BY id LIMIT $2",
        request.key,
        request.limit + 1,
        user_id,
    )
    return page(rows, request, make=_made, key=lambda row: row["id"])


async def counting_top_ups(postgres: PostgresPool, user_id: str) -> tuple[GivenTopUp, ...]:
    """Those of a user that count at the moment, oldest first, whatever was used of them."""
    query = f"SELECT {_COLUMNS} FROM top_ups WHERE {_COUNTING} ORDER BY id LIMIT {MOST}"  # noqa: S608 - ours
    return tuple(_made(row) for row in await postgres.fetch(query, user_id))


def _checked(new: NewTopUp, desk: Desk) -> Decimal | None:
    """The dollars as they are stored, when everything that can be seen without the database is right."""
    if (new.tokens is None) == (new.usd is None):
        raise invalid("Expected either tokens or usd.", "tokens" if new.tokens is not None else "usd")
    if new.tokens is not None and not 0 < new.tokens <= MOST_UNITS:
        raise invalid(f"Expected a whole number from 1 to {MOST_UNITS}.", "tokens")
    if new.expires_at is not None:
        values.future(new.expires_at, desk.clock.now(), param="expires_at")
    return None if new.usd is None else _dollars(new.usd)


def _dollars(usd: float) -> Decimal:
    if not 0 < usd <= MOST_USD:
        raise invalid(f"Expected a number above 0, up to {MOST_USD}.", "usd")
    exact = Decimal(repr(usd))
    if exact != round(exact, _DECIMALS):
        raise invalid(f"Expected at most {_DECIMALS} decimals.", "usd")
    return exact


async def _demand_room(change: Change, user_id: str, new: NewTopUp) -> None:
    """What counts at a time is bounded like a single one: sums stay exact, and a principal small."""
    query = f"SELECT count(*) AS n, sum(tokens) AS tokens, sum(usd) AS usd FROM top_ups WHERE {_COUNTING}"  # noqa: S608
    found = await change.fetchrow(query, user_id)
    if found["n"] >= MOST:
        raise RequestError(Code.CONFLICT, f"{MOST} top-ups of the user count already. Take some back first.")
    if (found["tokens"] or 0) + (new.tokens or 0) > MOST_UNITS:
        raise RequestError(Code.CONFLICT, f"The user's top-ups would come to more than {MOST_UNITS} tokens.")
    if float(found["usd"] or 0) + (new.usd or 0) > MOST_USD:
        raise RequestError(Code.CONFLICT, f"The user's top-ups would come to more than {MOST_USD} dollars.")


def _made(row: Any) -> GivenTopUp:
    shown = {name: value for name, value in dict(row).items() if name != "withdrawn_at"}
    return GivenTopUp(**{**shown, "usd": None if row["usd"] is None else float(row["usd"])})
