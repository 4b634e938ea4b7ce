"""A ledger on a real disk and a real PostgreSQL."""

import asyncio
import os
import warnings
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture

from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.accounts.ledger.ledger import Ledger
from citadel_edge.accounts.ledger.spool import Spool
from citadel_edge.config.shape import PostgresConfig
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the wheel's package looks for a runtime directory when it is imported
    from servers import migrated_template, own_postgres, postgres_server  # noqa: F401 - fixtures

CLOCK = Clock()


def make_event(**changes):
    """A usage row like those of a chat completion."""
    fields = {
        "event_id": uuid7(CLOCK),
        "request_id": f"req_{os.urandom(8).hex()}",
        "organisation_id": "org_default",
        "user_id": "usr_demo",
        "key_id": "key_demo",
        "tier": "free",
        "model": "gemma3-270m",
        "upstream": "local-1",
        "endpoint": "/v1/chat/completions",
        "listener": "routing-api",
        "decision_id": f"dec_{os.urandom(8).hex()}",
        "attempts": 1,
        "tokens_in": 123,
        "tokens_out": 456,
        "cost_usd": Decimal("0.000748500001"),
        "outcome": Outcome.DONE,
        "ttft_ms": 123.456,
        "duration_ms": 2345.678,
        "created_at": datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC),
    }
    return UsageEvent(**fields | changes)


@pytest.fixture(scope="session")
def event():
    return make_event


@pytest.fixture(scope="session")
def clock():
    return CLOCK


@pytest.fixture
def logged():
    """What was logged: dicts with `event` and `log_level`."""
    return []


@pytest.fixture
def log(logged):
    capture = LogCapture()
    capture.entries = logged
    return structlog.wrap_logger(
        structlog.PrintLogger(), processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(0)
    )


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def new_spool(directory, clock, log):
    """Opens spools one after another, as restarts would; closes what is left."""
    opened = []

    def new(**options):
        spool = Spool(directory, clock=clock, log=log, **options)
        spool.open()
        opened.append(spool)
        return spool

    yield new
    for spool in opened:
        if spool.syncer._thread.is_alive():
            spool.close()


@pytest.fixture
def open_pool(clock, log):
    """A pool on a DSN; several of them stand for several processes."""
    return lambda dsn: PostgresPool.open(PostgresConfig(dsn=dsn, deadline_s=5.0), clock=clock, log=log)


@pytest.fixture(scope="session")
def ledger_dsn(postgres_server, migrated_template):
    """One database for all tests of this room: a copy each would cost more than all they do."""
    return postgres_server.new_database(migrated_template)


@pytest.fixture
async def postgres(open_pool, ledger_dsn):
    async with open_pool(ledger_dsn) as pool:
        await pool.wait_until_up()
        await pool.execute("TRUNCATE usage_events, usage_folds")
        yield pool


@pytest.fixture
async def empty_database(open_pool, postgres_server):
    async with open_pool(postgres_server.new_database()) as pool:
        yield pool


@pytest.fixture
def open_ledger(directory, clock, log):
    """A ledger on the test's spool, not yet carrying."""

    def opened(pool, *, max_bytes=2**30, **options):
        options = {"registry": CollectorRegistry(), "clock": clock, "log": log, **options}
        bound = max_bytes if callable(max_bytes) else lambda: max_bytes
        return Ledger.open(options.pop("directory", directory), postgres=pool, max_bytes=bound, **options)

    return opened


@pytest.fixture
def carrying():
    """Has a ledger carry within the body."""

    @asynccontextmanager
    async def run(ledger):
        async with asyncio.TaskGroup() as group:
            worker = group.create_task(ledger.run())
            try:
                yield ledger
            finally:
                worker.cancel()

    return run


@pytest.fixture(scope="session")
def eventually():
    """Waits until an async question is answered with something true."""

    async def wait(ask, *, within_s=20.0):
        async with asyncio.timeout(within_s):
            while not await ask():
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def carrying_ledger(open_ledger, carrying):
    """A ledger that carries."""

    @asynccontextmanager
    async def opened(pool, **options):
        async with open_ledger(pool, **options) as ledger, carrying(ledger):
            yield ledger

    return opened
