"""Embedded databases in one process with the test: opened, filled, asked again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio as redis
import structlog

from citadel_edge.embedded.parts import Parts, open_parts
from embedded.owner import databases_only

READY_S = 60.0


@asynccontextmanager
async def opened(data_dir: Path, **options: Any) -> AsyncIterator[Parts]:
    async with open_parts(databases_only(data_dir), log=quiet_log(), progress=unheard, **options) as parts:
        await parts.ready(READY_S)
        yield parts


def quiet_log() -> Any:
    return structlog.wrap_logger(structlog.testing.CapturingLogger())


async def store(parts: Parts, value: str) -> None:
    async with redis_of(parts) as client:
        await client.set("kept", value)
    async with postgres_of(parts) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        await connection.execute("INSERT INTO kept VALUES ($1)", value)


async def stored(parts: Parts) -> tuple[str, list[str]]:
    async with redis_of(parts) as client:
        in_redis = await client.get("kept")
    async with postgres_of(parts) as connection:
        rows = await connection.fetch("SELECT value FROM kept")
    return in_redis.decode(), [row["value"] for row in rows]


@asynccontextmanager
async def redis_of(parts: Parts) -> AsyncIterator["redis.Redis"]:
    assert parts.redis_url is not None
    client = redis.Redis.from_url(parts.redis_url, socket_timeout=5)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def postgres_of(parts: Parts) -> AsyncIterator["asyncpg.Connection"]:
    connection = await asyncpg.connect(parts.postgres_dsn, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


def unheard(line: str) -> None:
    assert line
