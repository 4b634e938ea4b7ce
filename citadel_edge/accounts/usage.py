"""What was used, read from the ledger: sums over a span, by day, user, model and key.

Decides what counts as a request, an error and a denial, and how large results are read: page by page, so that no answer
is held whole. Refuses to know how they are shown.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import msgspec

from citadel_edge.accounts.days import Span, midnight
from citadel_edge.accounts.desk import invalid
from citadel_edge.accounts.pages import PageRequest, Where, cursor_of
from citadel_edge.accounts.turns import Turns
from citadel_edge.storage.postgres import PostgresPool

WITHIN_S: Final = 30.0
READ_AT_ONCE: Final = 2000
NANO: Final = 10**9


class By(StrEnum):
    """What sums may be told apart by, as clients say it."""

    DAY = "day"
    USER = "user"
    MODEL = "model"
    KEY = "key"


FIELDS: Final = {By.DAY: "day", By.USER: "user_id", By.MODEL: "model", By.KEY: "key_id"}
"""What a row calls it."""
_SUMS: Final = """
coalesce(sum(count) FILTER (WHERE outcome <> 'denied'), 0)::bigint AS requests,
coalesce(sum(tokens_in), 0)::bigint AS tokens_in, coalesce(sum(tokens_out), 0)::bigint AS tokens_out,
coalesce(sum(cost_usd), 0) AS cost_usd,
coalesce(sum(count) FILTER (WHERE outcome IN ('error', 'truncated')), 0)::bigint AS errors,
coalesce(sum(count) FILTER (WHERE outcome = 'denied'), 0)::bigint AS denied"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What was used.

    Attributes:
        requests: those that were served; denied ones are not among them.
        errors: of the requests, those that failed or were cut off.
        denied: requests that limits refused.
    """

    requests: int
    tokens_in: int
    tokens_out: int
    cost_usd: Decimal
    errors: int
    denied: int


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Sums of one group. `group` holds its values in the order they were asked for; a day as `2026-11-23`."""

    group: tuple[str, ...]
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whose usage, when, and told apart by what. One of `user_id` and `organisation_id` is set.

    `asker` is the user who asks, who has one turn at a time.
    """

    span: Span
    by: tuple[By, ...] = ()
    user_id: str | None = None
    organisation_id: str | None = None
    asker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePage:
    """Some rows in the order of their groups, the sums of the whole span, and the cursor behind the rows."""

    rows: tuple[UsageRow, ...]
    totals: Sums
    next: str | None


class Usage:
    """Questions to the ledger's table. All raise `PostgresUnavailable` when it is away or too slow."""

    def __init__(self, postgres: PostgresPool) -> None:
        self._postgres = postgres
        self._turns = Turns()

    async def page(self, question: Question, request: PageRequest) -> UsagePage:
        """A page of rows, and the totals."""
        after = _group_of(request.key, question)
        async with self._turns.turn(question.asker):
            totals = await self._totals(question)
            rows = await self._rows(question, after, request.limit + 1) if question.by else []
        shown = tuple(rows[: request.limit])
        more = len(rows) > request.limit
        return UsagePage(rows=shown, totals=totals, next=_cursor(shown[-1]) if more else None)

    async def all_rows(self, question: Question) -> AsyncGenerator[list[UsageRow], None]:
        """All rows, some at a time; without a group the totals as one row.

        Where days come first, some of them are read without the others, ever more as long as there is little in them.
        """
        if not question.by:
            async with self._turns.turn(question.asker):
                totals = await self._totals(question)
            yield [UsageRow((), totals)]
            return
        days = list(question.span.days())
        size = 1 if question.by[0] is By.DAY else len(days)
        while days:
            part, days = _part(question, days[0], days[size:]), days[size:]
            found = 0
            async for rows in self._pages(part):
                found += len(rows)
                yield rows
            size = size * 2 if found < READ_AT_ONCE else 1

    async def _pages(self, question: Question) -> AsyncGenerator[list[UsageRow], None]:
        after: tuple[str, ...] | None = None
        while True:
            async with self._turns.turn(question.asker):
                rows = await self._rows(question, after, READ_AT_ONCE)
            yield rows
            if len(rows) < READ_AT_ONCE:
                break
            after = rows[-1].group

    async def _totals(self, question: Question) -> Sums:
        where = _where(question)
        query = f"SELECT {_SUMS} FROM usage_events {where}"  # noqa: S608 - ours
        return _sums(await self._postgres.fetchrow(query, *where.arguments, timeout_s=WITHIN_S))

    async def _rows(self, question: Question, after: tuple[str, ...] | None, most: int) -> list[UsageRow]:
        if question.span.since >= question.span.until:
            return []  # a day that the zone left out
        where = _where(question)
        groups = [_grouped(by, question.span, where) for by in question.by]
        having = "" if after is None else f"HAVING {_behind(groups, after, question, where)}"
        names = ", ".join(f"{group} AS g{number}" for number, group in enumerate(groups))
        query = (
            f"SELECT {names}, {_SUMS} FROM usage_events {where} GROUP BY {', '.join(groups)} {having} "  # noqa: S608
            f"ORDER BY {', '.join(groups)} LIMIT {where.argument(most)}"
        )
        rows = await self._postgres.fetch(query, *where.arguments, timeout_s=WITHIN_S)
        return [UsageRow(_values(row, question), _sums(row)) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Tokens (in and out) and billionths of a dollar."""

    tokens: int
    nano_usd: int


async def used_since(
    postgres: PostgresPool,
    since: datetime,
    *,
    organisation_id: str,
    user_id: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> Used:
    """What an organisation, or one user of it, used since a time, of all models and endpoints or of one.

    For counters that were lost. What is in the spool at this moment is not in it yet.

    Raises:
        PostgresUnavailable: the database is away or too slow.
    """
    where = Where().add("user_id = {}", user_id).add("organisation_id = {}", organisation_id)
    where.add("created_at >= {}", since).add("model = {}", model).add("endpoint = {}", endpoint)
    query = (
        "SELECT coalesce(sum(tokens_in + tokens_out), 0)::bigint AS tokens, "  # noqa: S608 - ours
        f"round(coalesce(sum(cost_usd), 0) * {NANO})::bigint AS nano_usd FROM usage_events {where}"
    )
    row = await postgres.fetchrow(query, *where.arguments, timeout_s=WITHIN_S)
    return Used(tokens=row["tokens"], nano_usd=row["nano_usd"])


def groups_of(text: str | None, allowed: tuple[By, ...]) -> tuple[By, ...]:
    """`day,model` as it stands in a query; nothing is one sum. `RequestError`: a word is none of these, or is twice."""
    words = tuple(text.split(",")) if text else ()
    for word in words:
        if word not in allowed or words.count(word) > 1:
            raise invalid(f"Expected some of {', '.join(allowed)}, each once, with commas.", "by")
    return tuple(By(word) for word in words)


def _part(question: Question, first: date, rest: list[date]) -> Question:
    """The question from one of its days on, before the rest of them."""
    asked = question.span
    since = max(asked.since, midnight(first, asked.zone))
    until = midnight(rest[0], asked.zone) if rest else asked.until
    return replace(question, span=replace(asked, since=since, until=until))


def _where(question: Question) -> Where:
    where = Where().add("user_id = {}", question.user_id).add("organisation_id = {}", question.organisation_id)
    return where.add("created_at >= {}", question.span.since).add("created_at < {}", question.span.until)


def _grouped(by: By, span: Span, where: Where) -> str:
    """A group as an expression; a day is its number among those of the span, as Python's calendar has them."""
    if by is not By.DAY:
        return FIELDS[by]
    return (
        f"width_bucket(created_at, {where.argument([midnight(day, span.zone) for day in span.days()])}::timestamptz[])"
    )


def _behind(groups: list[str], after: tuple[str, ...], question: Question, where: Where) -> str:
    values = []
    for by, text in zip(question.by, after, strict=True):
        if by is By.DAY:
            values.append(f"{where.argument(_number(text, question.span))}::int")
        else:
            values.append(f"{where.argument(text)}::text")
    return f"({', '.join(groups)}) > ({', '.join(values)})"


def _number(text: str, span: Span) -> int:
    return (date.fromisoformat(text) - span.first_day).days + 1


def _values(row: Any, question: Question) -> tuple[str, ...]:
    first = question.span.first_day
    found = (row[f"g{number}"] for number in range(len(question.by)))
    return tuple(
        (first + timedelta(days=value - 1)).isoformat() if by is By.DAY else value
        for by, value in zip(question.by, found, strict=True)
    )


def _sums(row: Mapping[str, Any]) -> Sums:
    return Sums(**{name: row[name] for name in Sums.__dataclass_fields__})


def _cursor(row: UsageRow) -> str:
    return cursor_of(msgspec.json.encode(row.group).decode())


def _group_of(key: str | None, question: Question) -> tuple[str, ...] | None:
    """The group that a cursor names. `RequestError`: it is one of another question."""
    if key is None:
        return None
    days = {day.isoformat() for day in question.span.days()}
    try:
        group = msgspec.json.decode(key, type=tuple[str, ...])
    except msgspec.MsgspecError:
        group = ()
    pairs = zip(question.by, group, strict=False)
    if not group or len(group) != len(question.by) or any(by is By.DAY and text not in days for by, text in pairs):
        raise invalid("This is no cursor of this list: use `next` of a page, with the same from, to and by.", "after")
    return group
