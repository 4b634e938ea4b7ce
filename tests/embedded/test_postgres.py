"""What is PostgreSQL's own: its cluster, its marks, its version, and who it runs as."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from citadel_edge.config.shape import Config
from citadel_edge.embedded.identity import As
from citadel_edge.embedded.parts import open_parts
from citadel_edge.embedded.supervisor import PartState
from citadel_edge.errors import StartError
from embedded import processes
from embedded.conftest import needs_root
from embedded.owner import databases_only
from embedded.processes import soon
from embedded.serving import READY_S, opened, postgres_of, quiet_log, store, stored, unheard


async def test_the_database_of_the_configuration_is_made(data_dir: Path) -> None:
    for name in ("citadel", 'odd "name" / ü'):
        config = databases_only(data_dir)
        config = _replace_database(config, name)
        async with open_parts(config, log=quiet_log(), progress=unheard) as parts:
            await parts.ready(READY_S)
            async with postgres_of(parts) as connection:
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


async def test_a_part_that_never_serves_is_named_with_its_last_words(open_dir: Path) -> None:
    data_dir = open_dir / "var"
    cluster = data_dir / "postgres" / "data"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("18\n")
    cluster.chmod(0o700)
    async with open_parts(databases_only(data_dir), log=quiet_log(), progress=unheard) as parts:
        with pytest.raises(StartError, match=r"embedded postgres is (backoff|starting) after 2 s.*postgres\.log"):
            await parts.ready(2)
        assert parts.states()["valkey"] is PartState.READY


async def test_a_busy_session_does_not_delay_the_next_life(data_dir: Path) -> None:
    async with opened(data_dir) as parts, postgres_of(parts) as connection:
        busy = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            query = group.create_task(_interrupted(connection, busy))
            await busy
            (victim,) = processes.servers(data_dir, "postgres")
            os.kill(victim, signal.SIGKILL)
            await query
        assert await soon(lambda: processes.servers(data_dir, "postgres") - {victim})
        await parts.ready(READY_S)


@needs_root
@pytest.mark.parametrize("ways", [(As.NAMESPACE, As.USER), (As.USER, As.NAMESPACE)], ids="-".join)
async def test_root_has_each_way_not_to_be_root(open_dir: Path, ways: tuple[As, ...]) -> None:
    data_dir = open_dir / "var"
    for way in ways:
        async with opened(data_dir, postgres_as=way) as parts:
            (postmaster,) = processes.servers(data_dir, "postgres")
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


def _outside_uid(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _replace_database(config: Config, name: str) -> Config:
    return replace(config, postgres=replace(config.postgres, database=name))
