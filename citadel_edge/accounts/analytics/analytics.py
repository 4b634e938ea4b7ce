"""The analytics question, asked: one statement, its rows as values, gaps filled, in order.

Decides the settings it is asked with, how large an answer may be, and that making it never holds the loop for long:
buckets are cut and rows are made in a thread.
Refuses to know who may ask what.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import asyncpg

from citadel_edge.accounts.analytics.buckets import Bucket, bounds_of, starts_of
from citadel_edge.accounts.analytics.columns import MEASURES
from citadel_edge.accounts.analytics.dimensions import Dimension
from citadel_edge.accounts.analytics.durations import EMPTY, Durations
from citadel_edge.accounts.analytics.pieces import WEEKS_OF, Kept
from citadel_edge.accounts.analytics.question import MOST_ROWS, Answer, Figures, Measure, Order, Question, Row
from citadel_edge.accounts.analytics.statement import statement
from citadel_edge.accounts.desk import invalid
from citadel_edge.accounts.turns import Turns
from citadel_edge.errors import PostgresUnavailable
from citadel_edge.storage.postgres import PostgresPool

WITHIN_S: Final = 30.0
_NO_TABLE: Final = "PostgreSQL has no analytics yet: the migrations are still to run"
_SETTINGS: Final = f"""
SELECT set_config('work_mem', '32MB', true), set_config('jit', 'off', true),
    set_config('enable_sort', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    days.id AS days, weeks.id AS weeks, weeks.until AS weeks_until
FROM (VALUES (true)) AS always
LEFT JOIN usage_calendars AS days ON days.zone = $1 AND (days.complete OR days.since <= $2)
LEFT JOIN usage_calendars AS weeks ON weeks.zone = '{WEEKS_OF}' || $1 AND (weeks.complete OR weeks.since <= $2)
"""  # noqa: S608 - ours
"""No sort before a grouping: the planner expects far more groups than there are; to hash them takes half as long."""
_NOTHING: Final = Figures(
    requests=0, errors=0, denied=0, tokens_in=0, tokens_out=0, cost_usd=Decimal(0), latency=EMPTY, ttft=EMPTY
)
_SIZES: Final[Mapping[Measure, Callable[[Figures], int | Decimal]]] = {
    Measure.REQUESTS: lambda figures: figures.requests,
    Measure.TOKENS: lambda figures: figures.tokens_in + figures.tokens_out,
    Measure.COST: lambda figures: figures.cost_usd,
    Measure.ERRORS: lambda figures: figures.errors,
    Measure.DENIED: lambda figures: figures.denied,
}


class Analytics:
    """Questions to rollups, ledger and queue."""

    def __init__(self, postgres: PostgresPool) -> None:
        self._postgres = postgres
        self._turns = Turns()

    async def ask(self, question: Question) -> Answer:
        """All figures, exact at the moment of the answer.

        Raises:
            RequestError: too many buckets or rows, or too many ask at the moment.
            PostgresUnavailable: the database is away or too slow.
        """
        starts = await asyncio.to_thread(starts_of, question.span, question.bucket)
        async with self._turns.turn(question.asker):
            found = await self._found(question, bounds_of(question.span, starts))
        return await asyncio.to_thread(_answer, question, starts, found)

    async def _found(self, question: Question, bounds: list[datetime]) -> list[Any]:
        span = question.span
        try:
            async with self._postgres.transaction(timeout_s=WITHIN_S) as connection:
                found = await connection.fetchrow(_SETTINGS, str(span.zone), span.since)
                kept = Kept(found["days"], found["weeks"], found["weeks_until"])
                asked = await asyncio.to_thread(statement, question, bounds, kept)
                rows: list[Any] = await connection.fetch(asked.text, *asked.arguments)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise PostgresUnavailable(_NO_TABLE) from error
        return rows


def _answer(question: Question, starts: list[datetime], found: list[Any]) -> Answer:
    shown = [row for row in found if not row["total"]]
    _check_size(len(shown))
    totals = list(next(row for row in found if row["total"]))[-len(MEASURES) :]
    buckets = tuple(start.astimezone(question.span.zone) for start in starts)
    rows = list(_rows(shown, question, buckets))
    if question.fill:
        rows += _gaps(rows, question, buckets)
    return Answer(rows=tuple(_ordered(rows, question.order)), totals=_figures(totals), buckets=buckets)


class _Placed(NamedTuple):
    """A row, and the number of its bucket: numbers differ where a clock set back shows two hours alike."""

    place: int
    row: Row


def _rows(found: Iterable[Any], question: Question, buckets: Sequence[datetime | None]) -> Iterator[_Placed]:
    """Rows of a statement, as they were found: there may be ten thousand."""
    names = question.group_by
    named, upstream = len(names), names.index(Dimension.UPSTREAM) if Dimension.UPSTREAM in names else None
    for row in found:
        _, others, place, *values = row
        if upstream is not None and not values[upstream]:
            values[upstream] = None
        bucket = None if question.bucket is Bucket.NONE else buckets[place]
        yield _Placed(place, Row(bucket, tuple(values[:named]), others, _figures(values[named:])))


def _figures(measures: Sequence[Any]) -> Figures:
    """Of a statement's measures, in their order."""
    requests, errors, denied, tokens_in, tokens_out, cost_usd, latency, ttft = measures
    return Figures(
        requests, errors, denied, int(tokens_in), int(tokens_out), cost_usd, _durations(latency), _durations(ttft)
    )


def _durations(sent: bytes | None) -> Durations:
    return EMPTY if sent is None else Durations(sent)


def _gaps(rows: list[_Placed], question: Question, buckets: tuple[datetime, ...]) -> list[_Placed]:
    """Rows of zeros where a group has none."""
    asked: tuple[datetime | None, ...] = (None,) if question.bucket is Bucket.NONE else buckets
    groups = {(row.group, row.others) for _, row in rows} if question.group_by else {((), False)}
    _check_size(len(asked) * len(groups))
    there = {(place, row.group, row.others) for place, row in rows}
    return [
        _Placed(place, Row(bucket=bucket, group=group, others=others, figures=_NOTHING))
        for place, bucket in enumerate(asked)
        for group, others in groups
        if (place, group, others) not in there
    ]


def _check_size(rows: int) -> None:
    if rows > MOST_ROWS:
        raise invalid(
            f"The answer would have more than {MOST_ROWS} rows, one for each bucket and group: ask for a longer "
            "`bucket`, a shorter `range`, less to group by, or `top` of the groups.",
            "groupBy",
        )


def _ordered(rows: list[_Placed], order: Order) -> list[Row]:
    groups = sorted({(row.others, row.group) for _, row in rows}, key=_by_value)
    ranks = {group: rank for rank, group in enumerate(groups)}
    direction = -1 if order.by is None and order.descending else 1
    rows.sort(key=lambda placed: (direction * placed.place, ranks[placed.row.others, placed.row.group]))
    in_time = [row for _, row in rows]
    if order.by is not None:
        size = _SIZES[order.by]
        in_time.sort(key=lambda row: size(row.figures), reverse=order.descending)
    return in_time


def _by_value(group: tuple[bool, tuple[str | None, ...]]) -> tuple[bool, tuple[str, ...]]:
    others, values = group
    return others, tuple(value or "" for value in values)
