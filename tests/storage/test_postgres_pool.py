import asyncio

import asyncpg
import pytest

from citadel_edge.config.shape import PostgresConfig
from citadel_edge.errors import Code, PostgresUnavailable, StartError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.postgres_faults import refusal
from citadel_edge.storage.state import Status
from citadel_edge.telemetry.clock import Clock


async def test_queries_answer_rows_values_and_tags(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn) as pool:
        assert await pool.execute("CREATE TABLE t (x int); CREATE TABLE u (y int)") == "CREATE TABLE"
        await pool.executemany("INSERT INTO t VALUES ($1)", [(number,) for number in range(3)])
        assert await pool.execute("UPDATE t SET x = x + 1 WHERE x >= $1", 1) == "UPDATE 2"
        assert [row["x"] for row in await pool.fetch("SELECT x FROM t ORDER BY x")] == [0, 2, 3]
        assert (await pool.fetchrow("SELECT x FROM t WHERE x > $1 ORDER BY x", 1))["x"] == 2
        assert await pool.fetchrow("SELECT 1 WHERE false") is None
        assert await pool.fetchval("SELECT count(*) FROM t") == 3


async def test_errors_of_the_statement_pass_through_and_the_connection_lives_on(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn, pool_size=1) as pool:
        await pool.execute("CREATE TABLE t (x int PRIMARY KEY)")
        await pool.execute("INSERT INTO t VALUES (1)")
        backend = await pool.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(asyncpg.UniqueViolationError):
            await pool.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(asyncpg.UndefinedTableError):
            await pool.fetch("SELECT * FROM nowhere")
        with pytest.raises(asyncpg.InterfaceError):
            await pool.fetch("SELECT $1::int")
        assert await pool.fetchval("SELECT pg_backend_pid()") == backend


VALUES = {
    "a zero byte": ("SELECT $1::text", "a\0b"),
    "a zero byte in JSON": ("SELECT $1::jsonb", '"a\\u0000b"'),
    "half a character": ("SELECT $1::text", "\ud800"),
    "a number beyond its type": ("SELECT $1::bigint", 2**70),
    "a number out of range": ("SELECT ($1::bigint)::int", 2**40),
}
OURS = {
    "another type": ("SELECT $1::text", 5),
    "an argument too few": ("SELECT $1::int, $2::int", 5),
    "a division by zero": ("SELECT 1 / $1::int", 0),
}


async def test_a_value_that_cannot_be_held_is_told_and_a_mistake_in_a_statement_is_not(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn, pool_size=1) as pool:
        for what, (statement, value) in {**VALUES, **OURS}.items():
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)) as failed:
                await pool.fetch(statement, value)
            told = refusal(failed.value)
            assert (told is not None) == (what in VALUES), what
            assert told is None or told.code is Code.INVALID_REQUEST
        assert await pool.fetchval("SELECT 1") == 1


async def test_a_transaction_is_whole_or_not_at_all(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn) as pool:
        await pool.execute("CREATE TABLE t (x int)")
        async with pool.transaction() as connection:
            await connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(KeyError):
            await _insert_and_fail(pool, KeyError("mine"))
        with pytest.raises(asyncpg.DivisionByZeroError):
            await _insert_and_divide(pool)
        assert await pool.fetchval("SELECT array_agg(x) FROM t") == [1]


async def test_a_connection_that_is_ended_between_two_statements_is_an_outage_and_nothing_else(
    open_postgres, postgres_dsn
):
    async with open_postgres(postgres_dsn) as pool:
        await pool.execute("CREATE TABLE t (x int)")
        for again in range(3):
            with pytest.raises(PostgresUnavailable):
                await _end_in_the_middle(pool, again)
            await pool.wait_until_up()
        assert await pool.fetchval("SELECT count(*) FROM t") == 0


async def _end_in_the_middle(pool, wait):
    async with pool.transaction() as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        assert await pool.fetchval("SELECT pg_terminate_backend($1)", backend)
        await asyncio.sleep(wait * 0.05)
        await connection.executemany("INSERT INTO t VALUES ($1)", [(1,)])


async def test_a_deadline_ends_the_statement_on_the_server_too(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn) as pool:
        with pytest.raises(PostgresUnavailable, match=r"did not answer within 0\.1 s"):
            await pool.fetch("SELECT pg_sleep(600)", timeout_s=0.1)
        await _until_nobody_sleeps(pool)
        assert (await pool.check()).status is Status.UP, "one slow statement does not make a server away"


async def test_waiting_for_a_connection_is_within_the_deadline_and_said(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn, pool_size=1) as pool, pool.transaction(timeout_s=60):
        with pytest.raises(PostgresUnavailable, match="no free connection"):
            await pool.fetch("SELECT 1", timeout_s=0.1)


async def test_a_cancelled_caller_leaves_no_statement_and_no_broken_connection(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn, pool_size=2) as pool:
        await pool.execute("CREATE TABLE t (x int)")
        for _ in range(10):
            slow = asyncio.ensure_future(pool.fetch("SELECT pg_sleep(600)"))  # noqa: TID251 - awaited below
            writing = asyncio.ensure_future(_insert_and_sleep(pool))  # noqa: TID251 - awaited below
            await asyncio.sleep(0.02)
            slow.cancel()
            writing.cancel()
            await asyncio.wait({slow, writing})
            assert slow.cancelled()
            assert writing.cancelled()
        assert await pool.fetchval("SELECT count(*) FROM t") == 0
        await _until_nobody_sleeps(pool)


async def test_a_storm_of_cancellations_leaks_no_connection(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn, pool_size=4) as pool:

        async def one(number):
            call = asyncio.ensure_future(pool.fetchval("SELECT $1::int", number))  # noqa: TID251 - awaited below
            await asyncio.sleep(number % 7 / 2000)
            if number % 2:
                call.cancel()
            result = (await asyncio.gather(call, return_exceptions=True))[0]
            assert result == number or isinstance(result, asyncio.CancelledError)

        for _ in range(5):
            await asyncio.gather(*(one(number) for number in range(60)))
        answers = await asyncio.gather(*(pool.fetchval("SELECT $1::int", number) for number in range(40)))
        assert answers == list(range(40))
        mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        async with asyncio.timeout(20):
            while await pool.fetchval(mine) > 4:
                await asyncio.sleep(0.02)


async def test_notifications_are_heard(open_postgres, postgres_dsn):
    async with open_postgres(postgres_dsn) as pool:
        heard, subscribed = [], asyncio.Event()
        listening = asyncio.ensure_future(pool.listen("news", heard.append, subscribed.set))  # noqa: TID251
        await asyncio.wait_for(subscribed.wait(), 10)
        await pool.execute("SELECT pg_notify('news', 'hello')")
        async with asyncio.timeout(10):
            while heard != ["hello"]:
                await asyncio.sleep(0.01)
        listening.cancel()


async def test_an_error_of_the_body_comes_out_as_it_was(open_postgres, postgres_dsn):
    with pytest.raises(KeyError):
        async with open_postgres(postgres_dsn):
            raise KeyError("mine")


async def test_embedded_has_to_be_turned_into_an_address_before(log):
    with pytest.raises(StartError, match="embedded"):
        async with PostgresPool.open(PostgresConfig(dsn="embedded"), clock=Clock(), log=log):
            pass


async def _insert_and_fail(pool, error):
    async with pool.transaction() as connection:
        await connection.execute("INSERT INTO t VALUES (2)")
        raise error


async def _insert_and_divide(pool):
    async with pool.transaction() as connection:
        await connection.execute("INSERT INTO t VALUES (3)")
        await connection.fetch("SELECT 1/0")


async def _insert_and_sleep(pool):
    async with pool.transaction() as connection:
        await connection.execute("INSERT INTO t VALUES (1)")
        await connection.execute("SELECT pg_sleep(600)")


async def _until_nobody_sleeps(pool):
    sleepers = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'"
    async with asyncio.timeout(20):
        while await pool.fetchval(sleepers):
            await asyncio.sleep(0.02)
