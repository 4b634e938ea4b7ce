"""A whole edge of embedded parts as a process: killed in every way it leaves nothing, and the next one starts clean."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import redis

from embedded import processes
from embedded.conftest import Owner, needs_root
from embedded.processes import until

Own = Callable[..., Owner]
GONE_S = 15.0
LENT = 12345


def test_a_killed_edge_leaves_no_process_and_the_next_one_finds_the_data(own: Own, data_dir: Path) -> None:
    owner = own(data_dir)
    _store(owner, "kept")
    assert len(processes.keepers(data_dir)) == 2
    owner.process.kill()
    assert until(lambda: not processes.of(data_dir), GONE_S)
    assert "database system is shut down" in _log(data_dir, "postgres")
    assert _stored(own(data_dir)) == "kept"


def test_an_edge_killed_together_with_its_keepers_leaves_no_process_either(own: Own, data_dir: Path) -> None:
    owner = own(data_dir)
    _store(owner, "kept")
    processes.end({owner.process.pid, *processes.keepers(data_dir)})
    assert until(lambda: not processes.of(data_dir), GONE_S)
    assert _stored(own(data_dir)) == "kept"


def test_an_edge_started_the_moment_the_former_is_killed_takes_over(own: Own, data_dir: Path) -> None:
    owner = own(data_dir)
    _store(owner, "kept")
    owner.process.kill()
    owner.process.wait()
    assert _stored(own(data_dir)) == "kept"


@pytest.mark.parametrize("after_s", [0.0, 0.6])
def test_an_edge_killed_while_it_starts_leaves_nothing_that_blocks_the_next(
    own: Own, open_dir: Path, after_s: float
) -> None:
    data_dir = open_dir / "new"
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("owner.py")), str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert until(data_dir.exists)
        time.sleep(after_s)
        process.kill()
    assert until(lambda: not processes.of(data_dir), GONE_S)
    owner = own(data_dir)
    _store(owner, "kept")
    assert owner.leave() == 0


def test_control_c_at_the_terminal_stops_all_in_good_order(own: Own, data_dir: Path) -> None:
    owner = own(data_dir)
    owner.process.send_signal(signal.SIGINT)
    owner.process.wait(processes.PATIENCE_S)
    assert processes.of(data_dir) == set()
    assert "database system is shut down" in _log(data_dir, "postgres")


def test_an_edge_that_ends_takes_frozen_children_along(own: Own, data_dir: Path) -> None:
    owner = own(data_dir)
    for pid in processes.servers(data_dir, "valkey-server"):
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    assert owner.leave() == 0
    assert time.monotonic() - began < 25
    assert processes.of(data_dir) == set()


def test_a_second_edge_is_told_who_has_the_directory(own: Own, data_dir: Path) -> None:
    first = own(data_dir)
    second = own(data_dir)
    assert f"in use by process {first.process.pid}" in second.said
    _store(first, "unharmed")


def test_children_hold_nothing_of_the_edges_terminal(own: Own, data_dir: Path) -> None:
    owner = own(data_dir)
    terminal = _streams(owner.process.pid)
    for pid in processes.of(data_dir) - {owner.process.pid}:
        assert not _streams(pid) & terminal, processes.command(pid)


@needs_root
@pytest.mark.parametrize("uid", [65534, LENT], ids=["named", "without a name"])
def test_an_ordinary_user_may_run_it_all(own: Own, open_dir: Path, uid: int) -> None:
    home = open_dir / "home"
    home.mkdir()
    os.chown(home, uid, uid)
    owner = own(home / "var", prefix=_as_user(uid))
    if "ended with" in owner.said:
        pytest.skip(f"no way to let uid {uid} reach {sys.base_prefix}: {(open_dir / 'owner.err').read_text()[-300:]}")
    assert owner.said == ""
    (postmaster,) = processes.servers(home / "var", "postgres")
    assert Path(f"/proc/{postmaster}").stat().st_uid == uid
    _store(owner, "kept")
    owner.process.kill()
    assert until(lambda: not processes.of(home / "var"), GONE_S)


@needs_root
def test_where_namespaces_are_forbidden_root_falls_back_to_an_unprivileged_user(own: Own, open_dir: Path) -> None:
    owner = own(open_dir / "var", prefix=_forbidden(65536))
    assert owner.said == ""
    (postmaster,) = processes.servers(open_dir / "var", "postgres")
    assert Path(f"/proc/{postmaster}").stat().st_uid == 65534
    _store(owner, "kept")
    owner.process.kill()


@needs_root
def test_where_neither_is_allowed_the_refusal_says_what_to_do(own: Own, open_dir: Path) -> None:
    said = own(open_dir / "var", prefix=_forbidden(1)).said
    assert "the embedded PostgreSQL cannot run here" in said
    assert "unshare(CLONE_NEWUSER)" in said
    assert "start the edge as an ordinary user" in said
    assert "set postgres.dsn" in said


def _forbidden(uids: int) -> tuple[str, ...]:
    return (sys.executable, str(Path(__file__).with_name("forbidden.py")), str(uids))


def _as_user(uid: int) -> tuple[str, ...]:
    """A command prefix that becomes `uid`; where Python lies in a closed home, in mounts of its own that open it."""
    change = f'exec setpriv --reuid {uid} --regid {uid} --clear-groups -- "$@"'
    closed = next((path for path in reversed(Path(sys.base_prefix).parents) if not path.stat().st_mode & 0o001), None)
    if closed is None:
        return ("/bin/sh", "-c", change, "sh")
    within = Path(sys.base_prefix)
    script = (
        f"set -e; hold=$(mktemp -d); mount --bind {within} $hold; mount -t tmpfs -o mode=755 none {closed}; "
        f"umask 022; mkdir -p {within}; mount --move $hold {within}; rmdir $hold; {change}"
    )
    return ("unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh")


def _store(owner: Owner, value: str) -> None:
    assert owner.said == ""
    with redis.Redis.from_url(owner.redis) as client:
        client.set("kept", value)
    asyncio.run(_execute(owner.postgres, f"CREATE TABLE kept AS SELECT '{value}' AS value"))


def _stored(owner: Owner) -> str:
    assert owner.said == ""
    with redis.Redis.from_url(owner.redis) as client:
        kept = client.get("kept")
    assert isinstance(kept, bytes)
    assert asyncio.run(_value(owner.postgres)) == kept.decode()
    return kept.decode()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _value(dsn: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval("SELECT value FROM kept")
    finally:
        await connection.close()


def _streams(pid: int) -> set[Path]:
    return {Path(f"/proc/{pid}/fd/{number}").readlink() for number in (0, 1, 2)}


def _log(data_dir: Path, part: str) -> str:
    return (data_dir / "logs-embedded" / f"{part}.log").read_text()
