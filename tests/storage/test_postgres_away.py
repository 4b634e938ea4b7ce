"""PostgreSQL is away, refuses, or is frozen: who waits, what is said, and how it comes back."""

import asyncio
import signal
import time

import asyncpg
import pytest

from citadel_edge.errors import PostgresUnavailable
from citadel_edge.storage.state import Status

FAST_S = 0.1


async def test_a_pool_opens_and_fails_at_once_without_a_server(open_postgres, tmp_path):
    async with open_postgres(f"postgresql://me@/db?host={tmp_path}") as pool:
        await _until_down(pool)
        assert await _time_of_refusal(pool, "is it running") < FAST_S


async def test_a_refusing_port_is_named_and_no_password_is(open_postgres, free_port, capsys):
    async with open_postgres(f"postgresql://me:opensesame@127.0.0.1:{free_port}/db") as pool:
        with pytest.raises(PostgresUnavailable, match=rf"127\.0\.0\.1:{free_port}") as caught:
            await pool.fetch("SELECT 1")
        assert "opensesame" not in str(caught.value) + str(await pool.check()) + repr(caught.value.__cause__)
    assert "opensesame" not in "".join(capsys.readouterr())


async def test_a_missing_database_is_said(open_postgres, postgres_server):
    async with open_postgres(postgres_server.dsn("nowhere")) as pool:
        with pytest.raises(PostgresUnavailable, match=r"no such database.*postgres\.database"):
            await pool.fetch("SELECT 1")


async def test_a_server_that_stops_and_starts_is_lost_and_found(open_postgres, own_postgres):
    async with open_postgres(own_postgres.dsn()) as pool:
        heard, times = [], []
        listening = asyncio.ensure_future(pool.listen("c", heard.append, lambda: times.append(1)))  # noqa: TID251
        assert await pool.fetchval("SELECT 1") == 1
        waiting = asyncio.ensure_future(pool.fetchval("SELECT pg_sleep(600)", timeout_s=600))  # noqa: TID251
        async with asyncio.timeout(60):
            await _until(lambda: times == [1])
            await asyncio.to_thread(own_postgres.stop, signal.SIGINT)
            with pytest.raises(PostgresUnavailable):
                await waiting
            await _until_down(pool)
            assert await _time_of_refusal(pool, "running|shutting|closed") < FAST_S
            await asyncio.to_thread(own_postgres.start)
            await pool.wait_until_up()
            assert await pool.fetchval("SELECT 1") == 1
            await _until(lambda: times == [1, 1])
            await pool.execute("SELECT pg_notify('c', 'again')")
            await _until(lambda: heard == ["again"])
        listening.cancel()


async def test_a_frozen_server_costs_a_deadline_and_then_nothing(open_postgres, own_postgres):
    async with open_postgres(own_postgres.dsn(), deadline_s=0.3) as pool:
        assert await pool.fetchval("SELECT 1", timeout_s=10) == 1
        own_postgres.freeze()
        try:
            assert await _time_of_refusal(pool, "did not answer") < 10
            await _until_down(pool)
            assert await _time_of_refusal(pool, "did not answer") < FAST_S
            call = asyncio.ensure_future(pool.fetchval("SELECT 2"))  # noqa: TID251 - awaited below
            call.cancel()
            await asyncio.wait({call}, timeout=5)
            assert call.done()
        finally:
            own_postgres.thaw()
        async with asyncio.timeout(30):
            await pool.wait_until_up()
        assert await pool.fetchval("SELECT 3", timeout_s=10) == 3


async def test_a_cancelled_transaction_does_not_wait_for_a_frozen_server(open_postgres, own_postgres):
    async with open_postgres(own_postgres.dsn(), deadline_s=60) as pool:
        async with pool.transaction() as connection:
            await connection.execute("CREATE TABLE t (x int)")

        async def insert():
            async with pool.transaction() as connection:
                await connection.execute("INSERT INTO t VALUES (1)")
                own_postgres.freeze()
                await connection.execute("INSERT INTO t VALUES (2)")

        inserting = asyncio.ensure_future(insert())  # noqa: TID251 - awaited below
        try:
            await asyncio.sleep(0.5)
            started = time.monotonic()
            inserting.cancel()
            await asyncio.wait({inserting}, timeout=20)
            assert inserting.cancelled()
            assert time.monotonic() - started < 5, "a caller that leaves does not wait for the server"
        finally:
            own_postgres.thaw()
        async with asyncio.timeout(30):
            assert await _count_when_up(pool) == 0


async def test_too_many_connections_are_said(open_postgres, postgres_server, postgres_dsn):
    database = postgres_dsn.partition("@/")[2].partition("?")[0]
    postgres_server.run(f"CREATE ROLE {database}_few LOGIN CONNECTION LIMIT 1")
    few = postgres_server.dsn(database, f"{database}_few")
    holder = await asyncpg.connect(few, password="")
    try:
        async with open_postgres(few) as pool:
            with pytest.raises(PostgresUnavailable, match="max_connections"):
                await pool.fetch("SELECT 1")
    finally:
        await holder.close()


async def _time_of_refusal(pool, words):
    started = time.monotonic()
    with pytest.raises(PostgresUnavailable, match=words):
        await pool.fetch("SELECT 1")
    return time.monotonic() - started


async def _until_down(pool):
    async with asyncio.timeout(20):
        while (await pool.check()).status is Status.UP or pool._gate.status is not Status.DOWN:
            await asyncio.sleep(0.02)


async def _count_when_up(pool):
    while True:
        try:
            return await pool.fetchval("SELECT count(*) FROM t", timeout_s=5)
        except PostgresUnavailable:
            await asyncio.sleep(0.05)


async def _until(true):
    while not true():
        await asyncio.sleep(0.01)
