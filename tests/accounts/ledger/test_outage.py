"""PostgreSQL away or frozen, for a while: nothing is lost, nothing is doubled, nothing waits."""

import asyncio
import signal
import time
from typing import NamedTuple

import pytest

from citadel_edge.config.shape import PostgresConfig
from citadel_edge.storage.migrate import migrate
from citadel_edge.storage.postgres import PostgresPool
from servers import Postgres


class Own(NamedTuple):
    server: Postgres
    pool: PostgresPool


@pytest.fixture
async def own(own_postgres, clock, log):
    """A server of the test's own and a pool on it."""
    config = PostgresConfig(dsn=own_postgres.dsn(), deadline_s=2.0)
    async with PostgresPool.open(config, clock=clock, log=log) as pool:
        await pool.wait_until_up()
        await migrate(pool)
        await pool.execute("CHECKPOINT")  # this server acknowledges before it has written
        yield Own(own_postgres, pool)


async def all_in(pool, expected, eventually):
    async def there():
        try:
            return await pool.fetchval("SELECT count(*) FROM usage_events") >= expected
        except Exception:  # it is away
            return False

    await eventually(there, within_s=60)
    assert await pool.fetchval("SELECT count(*) FROM usage_events") == expected


async def record_for(ledger, event, *, rows):
    for _ in range(rows // 20):
        for _ in range(20):
            ledger.record(event())
        await asyncio.sleep(0.002)


async def test_a_stopped_postgresql_gets_every_row_once_when_it_is_back(
    own, carrying_ledger, event, logged, eventually
):
    async with carrying_ledger(own.pool) as ledger:
        await record_for(ledger, event, rows=1000)
        stopping = asyncio.to_thread(own.server.stop)
        await asyncio.gather(stopping, record_for(ledger, event, rows=1000))
        await record_for(ledger, event, rows=1000)
        await eventually(lambda: waits(ledger))
        assert ledger.backlog().rows >= 1000
        assert ledger.backlog().oldest_s > 0
        await asyncio.to_thread(own.server.start)
        await all_in(own.pool, 3000, eventually)
        await eventually(lambda: empty(ledger))
    told = [entry for entry in logged if entry["event"] == "usage rows wait in the spool"]
    assert 1 <= len(told) <= 3


async def test_a_server_that_acknowledges_before_it_has_written_is_not_believed(own, open_ledger, event):
    assert await own.pool.fetchval("SHOW synchronous_commit") == "off"
    async with open_ledger(own.pool) as ledger:
        await record_for(ledger, event, rows=100)
        assert await ledger.flush(10)
    await asyncio.to_thread(own.server.stop, signal.SIGQUIT)
    await asyncio.to_thread(own.server.start)
    await own.pool.wait_until_up()
    assert await asyncio.to_thread(own.server.run, "SELECT count(*) FROM usage_events") == "100"


async def test_a_frozen_postgresql_holds_up_nobody(own, carrying_ledger, event, eventually):
    async with carrying_ledger(own.pool) as ledger:
        own.server.freeze()
        try:
            started = time.monotonic()
            await record_for(ledger, event, rows=2000)
            assert time.monotonic() - started < 10
            await asyncio.sleep(3)
        finally:
            own.server.thaw()
        await all_in(own.pool, 2000, eventually)


async def test_a_drain_without_postgresql_keeps_the_rows_for_the_next_start(own, open_ledger, event, eventually):
    await asyncio.to_thread(own.server.stop)
    async with open_ledger(own.pool) as ledger:
        await record_for(ledger, event, rows=200)
        started = time.monotonic()
        assert not await ledger.flush(1.0)
        assert time.monotonic() - started < 6
    await asyncio.to_thread(own.server.start)
    async with open_ledger(own.pool) as ledger:
        assert ledger.backlog().rows == 200
        await own.pool.wait_until_up()
        assert await ledger.flush(20)
    await all_in(own.pool, 200, eventually)


async def waits(ledger):
    return ledger.backlog().rows >= 1000


async def empty(ledger):
    return ledger.backlog().rows == 0
