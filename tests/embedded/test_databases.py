"""The embedded databases in one process with the test: they serve, come back after any death, and keep what they hold."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis
import structlog

from citadel_edge.config.shape import Config
from citadel_edge.config.urls import postgres_target, redis_target
from citadel_edge.embedded.identity import As
from citadel_edge.embedded.parts import Parts, open_parts
from citadel_edge.embedded.supervisor import PartState
from citadel_edge.errors import StartError
from embedded import processes
from embedded.conftest import Owner, needs_root
from embedded.owner import databases_only
from embedded.processes import soon

READY_S = 60.0


@asynccontextmanager
async def opened(data_dir: Path, **options: Any) -> AsyncIterator[Parts]:
    async with open_parts(databases_only(data_dir), log=_log(), progress=lambda line: None, **options) as parts:
        await parts.ready(READY_S)
        yield parts


def _log() -> Any:
    return structlog.wrap_logger(structlog.testing.CapturingLogger())


async def store(parts: Parts, value: str) -> None:
    async with _redis(parts) as client:
        await client.set("kept", value)
    async with _postgres(parts) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        await connection.execute("INSERT INTO kept VALUES ($1)", value)


async def stored(parts: Parts) -> tuple[str, list[str]]:
    async with _redis(parts) as client:
        in_redis = await client.get("kept")
    async with _postgres(parts) as connection:
        rows = await connection.fetch("SELECT value FROM kept")
    return in_redis.decode(), [row["value"] for row in rows]


@asynccontextmanager
async def _redis(parts: Parts) -> AsyncIterator["redis.Redis"]:
    assert parts.redis_url is not None
    client = redis.Redis.from_url(parts.redis_url, socket_timeout=5)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def _postgres(parts: Parts) -> AsyncIterator["asyncpg.Connection"]:
    connection = await asyncpg.connect(parts.postgres_dsn, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


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
        async with _postgres(parts) as connection:
            assert await connection.fetchval("SHOW listen_addresses") == ""
            assert await connection.fetchval("SHOW fsync") == "on"
            assert await connection.fetchval("SHOW timezone") == "UTC"
            assert await connection.fetchval("SHOW server_encoding") == "UTF8"
            assert await connection.fetchval("SELECT upper('ä')") == "Ä"
        async with _redis(parts) as client:
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
        (victim,) = _servers(data_dir, program)
        os.kill(victim, signal.SIGKILL)
        assert await soon(lambda: _servers(data_dir, program) - {victim})
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


async def test_a_busy_session_does_not_delay_the_next_life(data_dir: Path) -> None:
    async with opened(data_dir) as parts, _postgres(parts) as connection:
        busy = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            query = group.create_task(_interrupted(connection, busy))
            await busy
            (victim,) = _servers(data_dir, "postgres")
            os.kill(victim, signal.SIGKILL)
            await query
        assert await soon(lambda: _servers(data_dir, "postgres") - {victim})
        await parts.ready(READY_S)


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


async def test_the_database_of_the_configuration_is_made(data_dir: Path) -> None:
    for name in ("citadel", 'odd "name" / ü'):
        config = databases_only(data_dir)
        config = _replace_database(config, name)
        async with open_parts(config, log=_log(), progress=lambda line: None) as parts:
            await parts.ready(READY_S)
            async with _postgres(parts) as connection:
                assert await connection.fetchval("SELECT current_database()") == name


async def test_a_torn_initdb_is_never_taken_for_a_cluster(open_dir: Path) -> None:
    data_dir = open_dir / "var"
    torn = data_dir / "postgres" / "data.new"
    torn.mkdir(parents=True)
    (torn / "PG_VERSION").write_text("18\n")
    (torn / "rubbish").write_text("half")
    async with opened(data_dir) as parts:
        await store(parts, "fresh")
    assert not torn.exists()


async def test_a_torn_end_of_the_append_only_file_is_forgiven(data_dir: Path) -> None:
    async with opened(data_dir) as parts:
        await store(parts, "kept")
    (tail,) = (data_dir / "valkey" / "appendonlydir").glob("*.incr.aof")
    with tail.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nke")
    async with opened(data_dir) as parts:
        assert await stored(parts) == ("kept", ["kept"])


async def test_marks_of_a_former_life_do_not_block_even_when_their_pid_lives_again(data_dir: Path) -> None:
    async with opened(data_dir) as parts:
        await store(parts, "kept")
    (data_dir / "postgres" / "data" / "postmaster.pid").write_text(
        f"{os.getpid()}\n{data_dir}/postgres/data\n1\n5432\n{data_dir}/postgres/socket\n\n  0 0\nready\n"
    )
    (data_dir / "postgres" / "socket" / ".s.PGSQL.5432.lock").write_text(f"{os.getpid()}\n")
    (data_dir / "postgres" / "socket" / ".s.PGSQL.5432").write_text("")
    async with opened(data_dir) as parts:
        assert await stored(parts) == ("kept", ["kept"])


async def test_a_cluster_of_another_version_is_refused_with_what_to_do(open_dir: Path) -> None:
    data_dir = open_dir / "var"
    cluster = data_dir / "postgres" / "data"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("12\n")
    with pytest.raises(StartError, match="made by PostgreSQL 12, the installed one is 18") as refused:
        async with opened(data_dir):
            pass
    assert "pg_dump" in str(refused.value)
    assert processes.of(data_dir) == set()


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


async def test_a_part_that_never_serves_is_named_with_its_last_words(open_dir: Path) -> None:
    data_dir = open_dir / "var"
    cluster = data_dir / "postgres" / "data"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("18\n")
    cluster.chmod(0o700)
    async with open_parts(databases_only(data_dir), log=_log(), progress=lambda line: None) as parts:
        with pytest.raises(StartError, match=r"embedded postgres is (backoff|starting) after 2 s.*postgres\.log"):
            await parts.ready(2)
        assert parts.states()["valkey"] is PartState.READY


@needs_root
@pytest.mark.parametrize("ways", [(As.NAMESPACE, As.USER), (As.USER, As.NAMESPACE)], ids="-".join)
async def test_root_has_each_way_not_to_be_root(open_dir: Path, ways: tuple[As, ...]) -> None:
    data_dir = open_dir / "var"
    for way in ways:
        async with opened(data_dir, postgres_as=way) as parts:
            (postmaster,) = _servers(data_dir, "postgres")
            assert _outside_uid(postmaster) == (0 if way is As.NAMESPACE else 65534)
            await store(parts, way.value)
            assert (await stored(parts))[1][-1] == way.value
    async with opened(data_dir, postgres_as=ways[0]) as parts:
        assert (await stored(parts))[1] == [way.value for way in ways]


@needs_root
async def test_an_unprivileged_uid_that_cannot_reach_its_home_is_a_clear_refusal(open_dir: Path) -> None:
    closed = open_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StartError, match="refuses to be root") as refused:
        async with opened(closed / "var", postgres_as=As.USER):
            pass
    assert "set data_dir to a place" in str(refused.value)
    assert closed.stat().st_mode & 0o777 == 0o700


@needs_root
async def test_nothing_outside_the_data_directory_changes_hands(open_dir: Path) -> None:
    before = (open_dir.stat(), Path("/etc/passwd").stat(), Path("/etc/group").stat())
    async with opened(open_dir / "var", postgres_as=As.USER):
        pass
    after = (open_dir.stat(), Path("/etc/passwd").stat(), Path("/etc/group").stat())
    for old, new in zip(before, after, strict=True):
        assert (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid)


async def _interrupted(connection: "asyncpg.Connection", busy: "asyncio.Future[None]") -> None:
    """A session that computes and looks at nothing else, until its server is gone."""
    await connection.execute("SELECT 1")
    asyncio.get_running_loop().call_later(0.3, busy.set_result, None)
    with pytest.raises((asyncpg.PostgresError, ConnectionError, asyncpg.InterfaceError)):
        await connection.fetchval("SELECT count(*) FROM generate_series(1, 100000000000)")


def _servers(data_dir: Path, program: str) -> set[int]:
    """The servers themselves: their parent is a keeper."""
    keepers = processes.keepers(data_dir)
    return {pid for pid in processes.named(data_dir, program) if processes.parent(pid) in keepers}


def _outside_uid(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _with(config: Config, redis_url: str, dsn: str) -> Config:
    from dataclasses import replace

    return replace(config, redis=replace(config.redis, url=redis_url), postgres=replace(config.postgres, dsn=dsn))


def _replace_database(config: Config, name: str) -> Config:
    from dataclasses import replace

    return replace(config, postgres=replace(config.postgres, database=name))
