"""The embedded databases serve, come back after any death, and keep what they hold."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from citadel_edge.config.shape import Config
from citadel_edge.config.urls import postgres_target, redis_target
from citadel_edge.embedded.supervisor import PartState
from citadel_edge.errors import StartError
from embedded import processes
from embedded.processes import soon
from embedded.serving import READY_S, opened, postgres_of, redis_of, store, stored


async def test_what_is_stored_is_there_after_a_restart(open_dir: Path) -> None:
    data_dir = open_dir / "var"
    async with opened(data_dir) as parts:
        await store(parts, "first")
    assert processes.of(data_dir) == set()
    async with opened(data_dir) as parts:
        assert await stored(parts) == ("first", ["first"])


async def test_the_addresses_are_ones_a_configuration_understands(data_dir: Path) -> None:
    async with opened(data_dir) as parts:
        config = Config()
        assert parts.redis_url is not None
        assert parts.postgres_dsn is not None
        config = _with(config, parts.redis_url, parts.postgres_dsn)
        assert redis_target(config.redis).path == data_dir / "valkey" / "socket" / "valkey.sock"
        assert postgres_target(config.postgres).directory == data_dir / "postgres" / "socket"
        assert postgres_target(config.postgres).db == "citadel"


async def test_the_databases_can_do_what_the_edge_needs(data_dir: Path) -> None:
    async with opened(data_dir) as parts:
        async with postgres_of(parts) as connection:
            assert await connection.fetchval("SHOW listen_addresses") == ""
            assert await connection.fetchval("SHOW fsync") == "on"
            assert await connection.fetchval("SHOW timezone") == "UTC"
            assert await connection.fetchval("SHOW server_encoding") == "UTF8"
            assert await connection.fetchval("SELECT upper('ä')") == "Ä"
        async with redis_of(parts) as client:
            settings = await client.config_get("*")
            assert (settings["port"], settings["appendonly"]) == ("0", "yes")
            assert (settings["appendfsync"], settings["maxmemory-policy"]) == ("everysec", "noeviction")


async def test_only_the_owner_may_reach_the_sockets(data_dir: Path) -> None:
    async with opened(data_dir) as parts:
        assert parts.states() == {"postgres": PartState.READY, "valkey": PartState.READY}
        for folder in (data_dir, data_dir / "postgres" / "socket", data_dir / "valkey" / "socket"):
            assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("program", ["postgres", "valkey-server"])
async def test_a_killed_database_comes_back_with_its_data(data_dir: Path, program: str) -> None:
    async with opened(data_dir) as parts:
        await store(parts, "before")
        await asyncio.sleep(1.2)  # Valkey syncs every second; the page cache alone would do for a killed process
        (victim,) = processes.servers(data_dir, program)
        os.kill(victim, signal.SIGKILL)
        assert await soon(lambda: processes.servers(data_dir, program) - {victim})
        await parts.ready(READY_S)
        assert await stored(parts) == ("before", ["before"])


async def test_killed_keepers_take_the_databases_along_and_all_come_back(data_dir: Path) -> None:
    async with opened(data_dir) as parts:
        await store(parts, "before")
        victims = processes.of(data_dir)
        processes.end(processes.keepers(data_dir))
        assert await soon(lambda: not victims & processes.of(data_dir))
        assert await soon(lambda: len(processes.keepers(data_dir)) == 2)
        await parts.ready(READY_S)
        assert await stored(parts) == ("before", ["before"])


async def test_two_edges_live_side_by_side(open_dir: Path, data_dir: Path) -> None:
    async with opened(data_dir) as one, opened(open_dir / "other") as other:
        await store(one, "one")
        await store(other, "other")
        assert await stored(one) == ("one", ["one"])
        assert await stored(other) == ("other", ["other"])


async def test_a_data_directory_in_use_is_refused(data_dir: Path) -> None:
    async with opened(data_dir) as parts:
        with pytest.raises(StartError, match=f"process {os.getpid()}"):
            async with opened(data_dir):
                pass
        await store(parts, "unharmed")


@pytest.mark.parametrize("folder", ["deep/" * 25 + "deep", "with space, kühl"])
async def test_any_place_will_do(open_dir: Path, data_dir: Path, folder: str) -> None:
    place = open_dir / folder
    place.parent.mkdir(parents=True, exist_ok=True)
    data_dir.rename(place)
    async with opened(place) as parts:
        await store(parts, "kept")
        assert await stored(parts) == ("kept", ["kept"])
        assert parts.redis_url is not None
        outside = Path(parts.redis_url.removeprefix("unix://")).parent
        assert outside.name.startswith("citadel-")
    assert not outside.exists()


async def test_a_torn_end_of_the_append_only_file_is_forgiven(data_dir: Path) -> None:
    async with opened(data_dir) as parts:
        await store(parts, "kept")
    (tail,) = (data_dir / "valkey" / "appendonlydir").glob("*.incr.aof")
    with tail.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nke")
    async with opened(data_dir) as parts:
        assert await stored(parts) == ("kept", ["kept"])


async def test_an_error_of_the_edge_passes_unchanged_and_stops_all(data_dir: Path) -> None:
    with pytest.raises(LookupError, match="of the edge"):
        async with opened(data_dir):
            raise LookupError("of the edge")
    assert processes.of(data_dir) == set()


async def test_a_cancelled_edge_stops_all_in_good_order(data_dir: Path) -> None:
    up = asyncio.Event()

    async def edge() -> None:
        async with opened(data_dir):
            up.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(edge())
        await up.wait()
        running.cancel()
    assert processes.of(data_dir) == set()
    assert "database system is shut down" in (data_dir / "logs-embedded" / "postgres.log").read_text()


def _with(config: Config, redis_url: str, dsn: str) -> Config:
    return replace(config, redis=replace(config.redis, url=redis_url), postgres=replace(config.postgres, dsn=dsn))
