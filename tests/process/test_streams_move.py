"""Two instances of one service: what one of them can no longer produce the other goes on with, once and for all."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from citadel_edge.simulator.server import Simulator, running
from kept_streams import SLOW, Heard, Service, all_rows, asked, config, service, uninterrupted
from processes import EdgeProcess
from servers import Postgres, migrated_dsn, migrated_template, postgres_server, redis_url, valkey_server

__all__ = ["migrated_dsn", "migrated_template", "postgres_server", "redis_url", "valkey_server"]

STREAMS = 4
GRACE_S = 2.0
LEASE_S = 5.0
HEARD_OUT = 4
"""Tokens that an engine may have on their way when it is told to stop: they are charged."""


@dataclass
class Pair:
    """Two instances. The client's readers are at the second, which knows only what the log says."""

    first: Service
    second: Service
    simulator: Simulator
    postgres: Postgres
    dsn: str

    async def check(self, streams: list[Heard]) -> None:
        """Each text is whole, with one row and one charge."""
        rows = await all_rows(self.postgres, self.dsn, len(streams))
        whole = await asyncio.gather(*(uninterrupted(self.second.client, self.simulator, one.body) for one in streams))
        assert [one.text for one in streams] == whole
        assert {one.end[0] for one in streams if one.end} == {"done"}
        assert [row[1] for row in rows] == ["done"] * len(streams)
        assert await self.second.taken(rows[0][0]) == sum(int(row[2]) for row in rows)


@asynccontextmanager
async def pair(folder: Path, postgres: Postgres, dsn: str, redis: str) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(running(SLOW))
        upstreams = [{"id": "sim", "url": simulator.url, "engine": "vllm"}]
        more = {"process": {"grace_s": GRACE_S}}
        edges = [EdgeProcess(folder / "first"), EdgeProcess(folder / "second")]
        for edge in edges:
            edge.write_config(config(upstreams, dsn=dsn, redis=redis, **more))
        first = await stack.enter_async_context(service(edges[0]))
        second = await stack.enter_async_context(service(edges[1], keys_of=edges[0]))
        yield Pair(first, second, simulator, postgres, dsn)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    return tmp_path


async def begun(one: Service, count: int = STREAMS) -> list[Heard]:
    return [await one.begin(asked(number)) for number in range(count)]


async def test_a_frozen_instance_that_thaws_says_and_charges_nothing_more(
    folder: Path, postgres_server: Postgres, migrated_dsn: str, redis_url: str
) -> None:
    async with pair(folder, postgres_server, migrated_dsn, redis_url) as both, asyncio.timeout(60):
        streams = await begun(both.first)
        async with asyncio.TaskGroup() as readers:
            for heard in streams:
                readers.create_task(both.second.read_to_the_end(heard))
            await asyncio.sleep(0.6)
            both.first.edge.send(signal.SIGSTOP)
        both.first.edge.send(signal.SIGCONT)
        await asyncio.sleep(1.5)
        await both.check(streams)
        log = both.first.edge.log_path.read_text()
        assert "stream taken over" not in log
        assert "unhandled" not in log


async def test_an_instance_that_is_stopped_hands_its_streams_on_at_once(
    folder: Path, postgres_server: Postgres, migrated_dsn: str, redis_url: str
) -> None:
    async with pair(folder, postgres_server, migrated_dsn, redis_url) as both, asyncio.timeout(60):
        streams = await begun(both.first)
        here = await both.first.begin(asked(STREAMS))
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as readers:
            for heard in streams:
                readers.create_task(both.second.read_to_the_end(heard))
            reading = readers.create_task(both.first.read(here))
            await asyncio.sleep(0.3)
            both.first.edge.send(signal.SIGTERM)
            await reading
            assert here.moved == here.cursor
            assert here.end is None
            had, moved_at = len(here.pieces), loop.time()
            readers.create_task(both.second.read_to_the_end(here))
            while len(here.pieces) == had:
                await asyncio.sleep(0.02)
            assert loop.time() - moved_at < LEASE_S
        assert await both.first.edge.exited(10) == 0
        await both.check([*streams, here])


async def test_who_is_started_again_goes_on_with_what_it_was_stopped_in(
    folder: Path, postgres_server: Postgres, migrated_dsn: str, redis_url: str
) -> None:
    async with pair(folder, postgres_server, migrated_dsn, redis_url) as both, asyncio.timeout(60):
        assert await both.second.edge.stop() == 0
        streams = await begun(both.first)
        async with asyncio.TaskGroup() as readers:
            for heard in streams:
                readers.create_task(both.first.read_to_the_end(heard))
            await asyncio.sleep(0.3)
            assert await both.first.edge.stop() == 0
            both.first.edge.start()
            both.second.edge.start()
        await both.check(streams)


async def test_a_stream_is_stopped_from_any_instance(
    folder: Path, postgres_server: Postgres, migrated_dsn: str, redis_url: str
) -> None:
    async with pair(folder, postgres_server, migrated_dsn, redis_url) as both, asyncio.timeout(60):
        heard = await both.first.begin({**asked(1), "max_tokens": 80})
        async with asyncio.TaskGroup() as readers:
            reading = readers.create_task(both.second.read_to_the_end(heard))
            await asyncio.sleep(0.5)
            answer = await stopped(both.second, heard)
            await reading
        assert heard.end is not None
        made = heard.end[1]["usage"]["completion_tokens"]
        assert answer["tokens_saved"] == 80 - made > 0
        assert heard.end[0] == "cancelled"
        assert 0 <= made - sum(bool(piece) for piece in heard.pieces) <= HEARD_OUT


async def stopped(one: Service, heard: Heard) -> dict[str, Any]:
    url = one.edge.url(f"/v1/streams/{heard.id}", "streaming-api")
    async with one.client.delete(url, headers=one.headers()) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found
