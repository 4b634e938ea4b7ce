"""Inserters, late rows, growing denials, two rollers, a zone being built and deaths all at once: always exact.

Readers compare a question's statement with the ledger's rows inside one snapshot, again and again while all goes on.
"""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from citadel_edge.accounts.analytics.buckets import Bucket, bounds_of, starts_of
from citadel_edge.accounts.analytics.dimensions import Dimension
from citadel_edge.accounts.analytics.pieces import Kept
from citadel_edge.accounts.analytics.question import Question
from citadel_edge.accounts.analytics.statement import statement
from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.errors import PostgresUnavailable

D = Dimension
BERLIN = ZoneInfo("Europe/Berlin")
SINCE, UNTIL = datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 11, 30, tzinfo=UTC)
MONTH = timedelta(days=31)
LASTS_S, AT_MOST_S = 2.0, 20.0
TROUBLE = (PostgresUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_BY_HAND = """
SELECT (created_at AT TIME ZONE 'Europe/Berlin')::date AS day, coalesce(upstream, '') AS upstream, user_id, model,
    sum(count) FILTER (WHERE outcome <> 'denied') AS requests,
    sum(count) FILTER (WHERE outcome = 'denied') AS denied,
    sum(tokens_in) AS tokens_in, sum(cost_usd) AS cost_usd
FROM usage_events WHERE created_at >= $1 AND created_at < $2 GROUP BY 1, 2, 3, 4
"""


def questions(span):
    whole = span("2025-09-01", "2025-12-01", BERLIN)
    month = replace(whole, since=whole.until - MONTH)  # may be read from the ledger while the zone is built
    return (
        Question(span=whole, bucket=Bucket.DAY, group_by=(D.MODEL,)),
        Question(span=month, bucket=Bucket.DAY, group_by=(D.USER, D.MODEL), durations=()),
        Question(span=whole, bucket=Bucket.DAY, group_by=(D.UPSTREAM,)),
        Question(
            span=month,
            bucket=Bucket.DAY,
            group_by=(D.UPSTREAM, D.USER),
            durations=(),
        ),
    )


_KEPT = "SELECT id, until FROM usage_calendars WHERE zone = $1 AND (complete OR since <= $2)"


async def check(books, question):
    """Ask, and sum by hand, in one snapshot."""
    starts = starts_of(question.span, question.bucket)
    days = [start.astimezone(BERLIN).date() for start in starts]
    async with books.postgres._lent(30) as connection, connection.transaction(isolation="repeatable_read"):
        zone = await connection.fetchval(_KEPT, "Europe/Berlin", question.span.since)
        weeks = await connection.fetchrow(_KEPT, "weeks of Europe/Berlin", question.span.since) or ()
        asked = statement(question, bounds_of(question.span, starts), Kept(zone, *weeks))
        rows = await connection.fetch(asked.text, *asked.arguments)
        by_hand = await connection.fetch(_BY_HAND, question.span.since, question.span.until)
    found, expected = {}, {}
    for row in rows:
        if not row["total"]:
            group = tuple(row[f"g{number}"] for number in range(len(question.group_by)))
            tokens_in = int(row["tokens_in"])
            found[days[row["bucket"]], *group] = (row["requests"], row["denied"], tokens_in, row["cost_usd"])
    for row in by_hand:
        key = (row["day"], *(row[name] for name in question.group_by))
        added = (row["requests"] or 0, row["denied"] or 0, row["tokens_in"], row["cost_usd"])
        expected[key] = tuple(one + other for one, other in zip(expected.get(key, (0, 0, 0, 0)), added, strict=True))
    assert found == expected
    return len(rows)


class Story:
    """Who does what while it lasts."""

    def __init__(self, books, draw, asked):
        self.books = books
        self.draw = draw
        self.asked = asked
        self.over = False
        self.did = dict.fromkeys(("written", "denied", "folded", "built", "killed", "cancelled", "checked"), 0)

    def has_all(self):
        return all(times > 0 for times in self.did.values())

    async def write(self, books):
        while not self.over:
            rows = self.draw.events(self.draw.rng.randrange(1, 40), SINCE, UNTIL)
            await self.surely(lambda rows=rows: books.write(*rows))
            self.did["written"] += len(rows)
            await asyncio.sleep(0.03)

    async def deny(self, books, event):
        minute = SINCE + timedelta(days=40)
        while not self.over:
            denial = event(outcome=Outcome.DENIED, upstream=None, tokens_in=0, tokens_out=0, cost_usd=Decimal(0))
            at = minute + timedelta(minutes=self.draw.rng.randrange(5))
            with suppress(*TROUBLE):
                await books.deny(event(**{**as_fields(denial), "created_at": at}), self.draw.rng.randrange(1, 9))
                self.did["denied"] += 1
            await asyncio.sleep(0.02)

    async def surely(self, act):
        """As the carrier does: again until it is in."""
        while True:
            try:
                return await act()
            except TROUBLE:
                await asyncio.sleep(0.05)

    async def roll(self, books):
        while not self.over:
            with suppress(*TROUBLE):
                self.did["folded"] += await books.rollups.fold() or 0
                self.did["built"] += await books.rollups.build()
            await asyncio.sleep(0.005)

    async def roll_and_die(self, books):
        """Fold, and leave in the middle of it."""
        while not self.over:
            with suppress(TimeoutError, *TROUBLE):
                async with asyncio.timeout(self.draw.rng.random() * 0.1):
                    await books.rollups.fold()
                    self.did["cancelled"] -= 1
            self.did["cancelled"] += 1
            await asyncio.sleep(0.02)

    async def kill(self, books):
        """End whoever is in a transaction that changes rollups, or writes rows; ever less often: some shall live."""
        pause_s = 0.3
        while not self.over:
            await asyncio.sleep(pause_s)
            pause_s *= 1.3
            with suppress(*TROUBLE):
                self.did["killed"] += await books.postgres.fetchval(
                    "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                    "AND (query ILIKE '%INTO usage_%' OR query ILIKE '%unrolled%') AND state <> 'idle'"
                )

    async def read(self, books):
        number = 0
        while not self.over:
            with suppress(*TROUBLE):
                await check(books, self.asked[number % len(self.asked)])
                self.did["checked"] += 1
            number += 1


def as_fields(event):
    return {name: getattr(event, name) for name in event.__struct_fields__}


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("full_speed")
async def test_answers_are_exact_while_everything_happens_at_once(open_books, migrated_dsn, dice, event, span):
    async with AsyncExitStack() as stack:
        one, other, third = [await stack.enter_async_context(open_books(migrated_dsn)) for _ in range(3)]
        await one.postgres.wait_until_up()
        await one.write(*dice(20).events(600, SINCE, UNTIL))
        await one.roll()
        await one.postgres.execute("INSERT INTO organisations (id, name, time_zone) VALUES ('o', 'o', 'Europe/Berlin')")
        story = Story(one, dice(21), questions(span))
        async with asyncio.TaskGroup() as group:
            for job in (
                story.write(one),
                story.write(other),
                story.deny(other, event),
                story.roll(one),
                story.roll(other),
                story.roll_and_die(third),
                story.kill(third),
                story.read(one),
                story.read(other),
            ):
                group.create_task(job)
            await asyncio.sleep(LASTS_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(AT_MOST_S):
                    while not story.has_all():
                        await asyncio.sleep(0.05)
            story.over = True
        await one.postgres.wait_until_up()
        while await one.rollups.build():
            pass
        await story.surely(one.roll)
        for question in questions(span):
            await check(one, question)
        assert await one.postgres.fetchval("SELECT count(*) FROM usage_unrolled") == 0
        counts = await one.postgres.fetch(
            "SELECT series, calendar, sum(requests + denied)::int AS count FROM usage_rollups GROUP BY 1, 2"
        )
        assert {row["count"] for row in counts} == {
            await one.postgres.fetchval("SELECT sum(count)::int FROM usage_events")
        }
        assert len(counts) == 4 + 2 * (16 + 4)
    assert story.has_all(), story.did
