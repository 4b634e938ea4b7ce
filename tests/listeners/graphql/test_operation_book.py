"""What clients ask is kept: over restarts, of all instances, by the hour, whatever becomes of PostgreSQL meanwhile."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

import pytest
import structlog

from citadel_edge.config.shape import PostgresConfig
from citadel_edge.errors import PostgresUnavailable
from citadel_edge.graph.operations import Shape
from citadel_edge.graph.patterns import Patterns
from citadel_edge.listeners.graphql import operation_book
from citadel_edge.listeners.graphql.operation_book import KEPT, MOST_WAITING, OperationBook
from citadel_edge.storage.migrate import packaged
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from edges import serving
from graphs import everything, graph_over
from servers import postgres_dsn  # noqa: F401 - a fixture
from shelf import GRAPH

NOON = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Kind(Enum):
    QUERY = "query"


class Ran:
    """What the table looks at of an operation."""

    kind = Kind.QUERY

    def __init__(self, name):
        self.name = name
        self.shape = Shape(f"{hash(name) & 0xFFFF:016x}", f"query {name}")


@dataclass(slots=True)
class Hands:
    """A clock whose time of day is set by hand."""

    at: datetime = NOON

    def now(self):
        return self.at


@pytest.fixture(scope="module")
def dsn(postgres_server, migrated_template):
    return postgres_server.new_database(migrated_template)


@pytest.fixture
async def postgres(dsn):
    async with PostgresPool.open(PostgresConfig(dsn=dsn), clock=Clock(), log=structlog.get_logger()) as pool:
        await pool.wait_until_up()
        await pool.execute("TRUNCATE graph_operations, graph_operation_counts")
        yield pool


def book_on(postgres, clock, run, *, size=500):
    patterns = Patterns(size=size)
    return patterns, OperationBook(patterns, postgres, run=run, clock=clock, log=structlog.get_logger())


def count(patterns, name, times=1, **what):
    for _ in range(times):
        patterns.count(Ran(name), **{"cost": 2.0, "seconds": 0.5, "failed": False} | what)


async def counts(book, **asked):
    return {row.name: row.count for row in await book.top(100, by="count", **asked)}


async def test_instances_and_hours_add_up_and_since_leaves_out_what_was_before(postgres):
    clock = Hands()
    mine, book = book_on(postgres, clock, "one")
    theirs, other = book_on(postgres, clock, "two")
    count(mine, "A", 3)
    count(mine, None)
    count(theirs, "A", 2, cost=7.0, seconds=2.0, failed=True)
    await other.write()
    assert await counts(book) == {"A": 5, None: 1}
    (first, _) = await book.top(2, by="cost")
    assert (first.errors, first.cost, first.highest_cost) == (2, 3 * 2.0 + 2 * 7.0, 7.0)
    assert (first.seconds, first.slowest_s, first.text, first.kind) == (5.5, 2.0, "query A", "query")
    clock.at += HOUR
    await book.write()
    count(mine, "A", 10)
    assert await counts(book) == {"A": 15, None: 1}
    assert await counts(other, since=clock.at) == {"A": 10}
    assert await counts(book, since=NOON) == {"A": 15, None: 1}, "its whole hour"
    clock.at += timedelta(days=7) + HOUR
    assert await counts(book) == {}
    assert await counts(book, since=NOON) == {"A": 15, None: 1}


async def test_writing_again_changes_nothing_and_what_left_the_table_leaves_the_book(postgres):
    patterns, book = book_on(postgres, Hands(), "one", size=2)
    count(patterns, "A", 5)
    count(patterns, "B", 2)
    for _ in range(2):
        await book.write()
        book._written = 0  # as if the answer had been lost
    assert await counts(book) == {"A": 5, "B": 2}
    count(patterns, "C")
    (_, newest) = await book.top(5, by="count")
    assert (newest.name, newest.count, newest.over) == ("C", 3, 2)
    assert await counts(book) == {"A": 5, "C": 3}


async def test_what_is_older_than_five_weeks_is_removed(postgres):
    clock = Hands()
    patterns, book = book_on(postgres, clock, "one")
    count(patterns, "old")
    await book.write()
    clock.at += KEPT + 2 * HOUR
    await book.write()
    count(patterns, "new")
    clock.at += HOUR
    await book.write()
    assert await counts(book, since=NOON) == {"new": 1}
    assert await postgres.fetchval("SELECT count(*) FROM graph_operations") == 1


async def test_hours_wait_for_postgresql_but_not_for_ever(postgres):
    clock = Hands()
    patterns, book = book_on(postgres, clock, "one")
    await postgres.execute("ALTER TABLE graph_operation_counts RENAME TO gone")
    for number in range(MOST_WAITING + 2):
        count(patterns, f"Q{number}")
        clock.at += HOUR
        with pytest.raises(PostgresUnavailable, match="migrations"):
            await book.write()
    await postgres.execute("ALTER TABLE gone RENAME TO graph_operation_counts")
    found = await counts(book, since=NOON)
    newest = range(2, MOST_WAITING + 2)
    assert found == {f"Q{number}": 1 for number in newest}, "a day of hours waits, older ones are dropped"


async def test_the_worker_writes_again_after_postgresql_was_away(postgres_dsn, monkeypatch):  # noqa: F811
    """Tables that are not there yet are as good as a server that is away."""
    monkeypatch.setattr(operation_book, "EVERY_S", 0.02)
    monkeypatch.setattr(operation_book, "FIRST_PAUSE_S", 0.02)
    log = structlog.get_logger()
    async with PostgresPool.open(PostgresConfig(dsn=postgres_dsn), clock=Clock(), log=log) as pool:
        await pool.wait_until_up()
        patterns, book = book_on(pool, Clock(), "one")
        async with book.kept():
            count(patterns, "A", 4)
            await asyncio.sleep(0.1)
            for statement in await asyncio.to_thread(operation_tables):
                await pool.execute(statement)
            async with asyncio.timeout(10):
                while await pool.fetchval("SELECT sum(count)::int FROM graph_operation_counts") != 4:
                    await asyncio.sleep(0.02)
            count(patterns, "A")
        assert await pool.fetchval("SELECT sum(count)::int FROM graph_operation_counts") == 5, "the last words"


def operation_tables():
    return [step.sql for step in packaged() if step.name == "operation_patterns"]


QUERY = "query Mine($first: Int) { models(first: $first) { nodes { name } } }"


async def ask(served, query, times=1):
    for _ in range(times):
        async with served.client.post(
            served.url("/graphql", GRAPH), json={"query": query}, headers=served.as_admin()
        ) as answer:
            body = await answer.json()
            assert "errors" not in body, body
    return body["data"]


@asynccontextmanager
async def two(dsn, redis_url, tmp_path):
    async with AsyncExitStack() as stack:
        shared = {"dsn": dsn, "redis_url": redis_url, "options": ()}
        one = await stack.enter_async_context(serving(**shared, data_dir=tmp_path / "one"))
        other = await stack.enter_async_context(serving(**shared, data_dir=tmp_path / "two", beside=one))
        yield one, other


async def test_a_week_is_reported_of_all_instances_and_over_a_restart(migrated_dsn, redis_url, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with two(migrated_dsn, redis_url, tmp_path) as (one, other):
        keys = one.keys
        await ask(one, QUERY, 3)
        await ask(other, QUERY, 2)
        await ask(other, '{ tier(name: "free") { name } }')
    async with serving(
        dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path / "one", options=(), beside=one
    ) as again:
        assert again.keys is keys
        graph = await graph_over(again)
        wanted = everything(graph.schema.type_map["OperationPattern"], depth=1)
        await ask(again, QUERY)
        rows = (await ask(again, f"{{ operationPatterns {wanted} }}"))["operationPatterns"]
        assert [(row["name"], row["count"], row["errors"], row["kind"]) for row in rows] == [
            ("Mine", 6, 0, "query"),
            (None, 1, 0, "query"),
        ]
        assert rows[1]["text"] == '{ tier ( name : "" ) { name } }'
        report = "query Report { operationPatterns(first: 1, orderBy: HIGHEST_COST) { name highestCost } }"
        await ask(again, report)
        dearest = (await ask(again, report))["operationPatterns"]
        assert dearest[0]["highestCost"] > max(row["highestCost"] for row in rows)
        assert (await ask(again, '{ operationPatterns(since: "2099-01-01T00:00:00Z") { name } }'))[
            "operationPatterns"
        ] == []
        wrong = await graph.result("{ operationPatterns(first: 0) { name } }")
        assert wrong.errors[0].original_error.param == "first"
