"""Two instances of one service: what one of them can no longer produce the other goes on with, once and for all."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from citadel_edge.config.shape import ProcessConfig, TierConfig
from citadel_edge.simulator.server import Simulator, running
from edges import Served, serving
from kept_streams import (
    SLOW,
    TIER,
    Client,
    Heard,
    account,
    asked,
    check_each_is_whole_once,
    client_of,
    config,
    started,
    until,
)
from processes import EdgeProcess
from servers import Postgres

STREAMS = 4
GRACE_S = 2.0
LEASE_S = 5.0
SAID = 8
"""Pieces that a client has of each stream when something happens to its producer."""
HEARD_OUT = 4
"""Tokens that an engine may have on their way when it is told to stop: they are charged."""


@dataclass
class Place:
    """Where the instances meet."""

    postgres: Postgres
    dsn: str
    redis: str
    folder: Path

    async def check(self, streams: list[Heard], client: Client) -> None:
        """Each text is whole, with one row and one charge."""
        await check_each_is_whole_once(streams, await account(client, self.postgres, self.dsn, len(streams)))

    @asynccontextmanager
    async def here(self, name: str, **more: Any) -> AsyncIterator[Served]:
        """An instance in this process."""
        changes = {"tiers": (TierConfig(**TIER),), "process": ProcessConfig(grace_s=GRACE_S)}
        home = self.folder / name
        home.mkdir()
        place = {"dsn": self.dsn, "redis_url": self.redis, "data_dir": home}
        async with serving(**place, options=(SLOW,), changes=changes, **more) as served:
            yield served

    def process(self, simulators: Sequence[Simulator]) -> EdgeProcess:
        """One that can be frozen and stopped."""
        edge = EdgeProcess(self.folder)
        edge.write_config(config(simulators, dsn=self.dsn, redis=self.redis, process={"grace_s": GRACE_S}))
        return edge


@dataclass
class Pair:
    """Two instances. The client's readers are at the second, which knows only what the log says."""

    process: EdgeProcess
    first: Client
    second: Client


@pytest.fixture
def place(tmp_path: Path, postgres_server: Postgres, migrated_dsn: str, redis_url: str) -> Place:
    return Place(postgres_server, migrated_dsn, redis_url, tmp_path)


@asynccontextmanager
async def pair(place: Place) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(place.here("second"))
        process, second = place.process(served.simulators), client_of(served)
        first = await stack.enter_async_context(started(process, second.keys))
        yield Pair(process, first, second)


async def begun(one: Client, count: int = STREAMS) -> list[Heard]:
    return await asyncio.gather(*(one.begin(asked(number)) for number in range(count)))


async def all_speak(streams: list[Heard]) -> None:
    await until(lambda: all(len(one.pieces) >= SAID for one in streams))
    assert all(one.end is None for one in streams)


async def test_a_frozen_instance_that_thaws_says_and_charges_nothing_more(place: Place) -> None:
    async with pair(place) as both, asyncio.timeout(60):
        streams = await begun(both.first)
        async with asyncio.TaskGroup() as readers:
            for heard in streams:
                readers.create_task(both.second.read_to_the_end(heard))
            await all_speak(streams)
            both.process.send(signal.SIGSTOP)
        await place.check(streams, both.second)
        both.process.send(signal.SIGCONT)
        await asyncio.sleep(1.5)
        await place.check(streams, both.second)
        log = both.process.log_path.read_text()
        assert "stream taken over" not in log
        assert "unhandled" not in log


async def test_an_instance_that_is_stopped_hands_its_streams_on_at_once(place: Place) -> None:
    async with pair(place) as both, asyncio.timeout(60):
        streams = await begun(both.first)
        here = await both.first.begin(asked(STREAMS))
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as readers:
            for heard in streams:
                readers.create_task(both.second.read_to_the_end(heard))
            reading = readers.create_task(both.first.read(here))
            await all_speak([*streams, here])
            both.process.send(signal.SIGTERM)
            await reading
            assert here.moved == here.cursor
            assert here.end is None
            had, moved_at = len(here.pieces), loop.time()
            readers.create_task(both.second.read_to_the_end(here))
            await until(lambda: len(here.pieces) > had)
            assert loop.time() - moved_at < LEASE_S
        assert await both.process.exited(10) == 0
        await place.check([*streams, here], both.second)


async def test_who_is_started_again_goes_on_with_what_it_was_stopped_in(place: Place) -> None:
    async with running(SLOW) as simulator, asyncio.timeout(60):
        process = place.process([simulator])
        async with started(process) as client:
            streams = await begun(client)
            async with asyncio.TaskGroup() as readers:
                for heard in streams:
                    readers.create_task(client.read_to_the_end(heard))
                await all_speak(streams)
                assert await process.stop() == 0
                process.start()
            await place.check(streams, client)


async def test_a_stream_is_stopped_from_any_instance(place: Place) -> None:
    async with place.here("first") as one, place.here("second", beside=one) as other, asyncio.timeout(60):
        first, second = client_of(one), client_of(other)
        heard = await first.begin({**asked(1), "max_tokens": 80})
        async with asyncio.TaskGroup() as readers:
            readers.create_task(second.read_to_the_end(heard))
            await all_speak([heard])
            answer = await second.stop(heard)
        assert heard.end is not None
        made = heard.end[1]["usage"]["completion_tokens"]
        assert answer["tokens_saved"] == 80 - made > 0
        assert heard.end[0] == "cancelled"
        assert 0 <= made - sum(bool(piece) for piece in heard.pieces) <= HEARD_OUT
