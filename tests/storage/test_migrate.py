import asyncio
import dataclasses

import asyncpg
import pytest

from citadel_edge.errors import StartError
from citadel_edge.storage.migrate import Migration, migrate, missing, ordered, packaged

FIRST = Migration(1, "first", "CREATE TABLE first (x int); INSERT INTO first VALUES (1)")
SECOND = Migration(2, "second", "CREATE TABLE second (x int)")
STEPS = (FIRST, SECOND)
PACKAGED = packaged()


async def test_missing_steps_are_applied_once_in_order(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn) as pool:
        assert await migrate(pool, (FIRST,)) == ["0001_first"]
        assert await migrate(pool, STEPS) == ["0002_second"]
        assert await migrate(pool, STEPS) == []
        assert await pool.fetchval("SELECT count(*) FROM first") == 1
        rows = await pool.fetch("SELECT number, name, checksum, applied_at FROM schema_migrations ORDER BY number")
        assert [(row["number"], row["name"], row["checksum"]) for row in rows] == [
            (step.number, step.name, step.checksum) for step in STEPS
        ]


async def test_two_instances_at_once_apply_each_step_once(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn) as one, open_postgres(postgres_dsn) as other:
        applied = await asyncio.gather(migrate(one), migrate(other), migrate(one), migrate(other))
        labels = [step.label for step in PACKAGED]
        assert sorted(label for part in applied for label in part) == labels
        assert await one.fetchval("SELECT count(*) FROM schema_migrations") == len(labels)


async def test_a_step_that_fails_leaves_nothing_and_those_before_it_stay(open_postgres, postgres_dsn):
    broken = Migration(2, "broken", "CREATE TABLE half (x int); SELECT 1/0")
    async with open_postgres(postgres_dsn) as pool:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(pool, (FIRST, broken))
        assert await pool.fetchval("SELECT to_regclass('half')") is None
        assert await pool.fetchval("SELECT max(number) FROM schema_migrations") == 1
        assert await migrate(pool, STEPS) == ["0002_second"]


async def test_a_changed_step_is_refused(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn) as pool:
        await migrate(pool, STEPS)
        changed = dataclasses.replace(FIRST, sql="CREATE TABLE other (x int)")
        with pytest.raises(StartError, match=r"0001_first was applied .* with another content"):
            await migrate(pool, (changed, SECOND))


async def test_a_database_newer_than_the_code_is_refused_untouched(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn) as pool:
        await migrate(pool, STEPS)
        with pytest.raises(StartError, match=r"newer than this version.*0002_second"):
            await migrate(pool, (FIRST,))
        assert await pool.fetchval("SELECT to_regclass('second')::text") == "second"


def test_a_step_that_was_left_out_is_applied_later():
    row = {"number": 2, "name": "second", "checksum": SECOND.checksum}
    assert missing(STEPS, [row]) is FIRST


def test_the_packages_steps_are_numbered_without_gaps():
    assert [step.number for step in PACKAGED] == list(range(1, len(PACKAGED) + 1))


def test_two_steps_of_one_number_are_refused():
    with pytest.raises(StartError, match="0001_first and 0001_again"):
        ordered([FIRST, Migration(1, "again", "")])
