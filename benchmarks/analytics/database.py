"""The embedded PostgreSQL, as a first start makes it, in a folder of its own; and what the product has of analytics."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from citadel_edge.accounts.analytics.analytics import Analytics
from citadel_edge.accounts.analytics.rollups import Rollups
from citadel_edge.accounts.zones import Zones
from citadel_edge.config.shape import Config, Engine, PostgresConfig, RedisConfig, UpstreamConfig
from citadel_edge.embedded.parts import open_parts
from citadel_edge.storage.migrate import migrate
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock

READY_WITHIN_S: Final = 120.0
_NOWHERE: Final = "redis://127.0.0.1:1"
BERLIN: Final = "Europe/Berlin"


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database whose organisations count in UTC and in Berlin."""

    postgres: PostgresPool
    rollups: Rollups
    analytics: Analytics


@asynccontextmanager
async def running_database() -> AsyncIterator[Database]:
    """One that is gone afterwards."""
    log = structlog.wrap_logger(
        structlog.ReturnLogger(), wrapper_class=structlog.make_filtering_bound_logger("critical")
    )
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="analytics-") as folder:
        config = Config(
            data_dir=Path(folder),
            redis=RedisConfig(url=_NOWHERE),
            upstreams=(UpstreamConfig(id="none", url="http://127.0.0.1:1", engine=Engine.OPENAI),),
        )
        async with open_parts(config, log=log, progress=lambda _: None) as parts:
            await parts.ready(READY_WITHIN_S)
            async with PostgresPool.open(
                PostgresConfig(dsn=parts.postgres_dsn or ""), clock=clock, log=log
            ) as postgres:
                await postgres.wait_until_up()
                await migrate(postgres)
                await postgres.execute("INSERT INTO usage_calendars (zone, complete) VALUES ($1, true)", BERLIN)
                rollups = Rollups(postgres, zones=Zones(log), clock=clock, log=log, registry=CollectorRegistry())
                while await rollups.build():
                    pass
                yield Database(postgres, rollups, Analytics(postgres))


async def settled(database: Database) -> None:
    """Return when PostgreSQL has done what it does after much was written."""
    await database.postgres.execute("CHECKPOINT", timeout_s=600)
    for table in ("usage_events", "usage_unrolled", "usage_keys", "usage_rollups", "usage_histograms"):
        await database.postgres.execute(f"VACUUM ANALYZE {table}", timeout_s=600)
    await asyncio.sleep(1)
