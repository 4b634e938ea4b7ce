import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from citadel_edge.control import address
from citadel_edge.control.client import request
from citadel_edge.control.protocol import Command, ControlError, NotRunning
from citadel_edge.control.server import serve
from citadel_edge.errors import StartError


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def abandoned(path: Path) -> None:
    """A socket file whose process is dead."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


async def test_the_socket_is_its_owners_alone(served):
    async with served() as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_socket_that_a_dead_process_left_is_replaced(served, socket_path):
    abandoned(socket_path)
    async with served() as path:
        assert await request(path, Command.STATUS)


async def test_a_living_process_keeps_its_socket(served, socket_path):
    async with served() as path:
        with pytest.raises(StartError, match="another process answers"):
            await asyncio.to_thread(address.bind, socket_path)
        assert await request(path, Command.STATUS)


def test_a_file_that_is_no_socket_is_not_touched(socket_path):
    socket_path.write_text("mine")
    with pytest.raises(StartError, match="move it away"):
        address.bind(socket_path)
    assert socket_path.read_text() == "mine"


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(StartError, match="nowhere"):
        address.bind(tmp_path / "nowhere" / "control.sock")


async def test_a_successors_socket_is_left_alone(served, socket_path):
    async with served():
        socket_path.unlink()
        abandoned(socket_path)
    assert socket_path.exists()


async def test_a_path_longer_than_an_address_is_reached_from_both_ends(tmp_path, listeners, log):
    folder = tmp_path / ("d" * 120) / ("e" * 120)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    before = open_descriptors()
    async with asyncio.TaskGroup() as group, serve(path, listeners, group=group, log=log):
        assert stat.S_ISSOCK(path.lstat().st_mode)
        assert (await request(path, Command.STATUS))["version"] == "0"
        with pytest.raises(StartError, match="another process"):
            await asyncio.to_thread(address.bind, path)
    assert not path.exists()
    with pytest.raises(NotRunning):
        await request(path, Command.STATUS)
    assert open_descriptors() <= before


def test_a_refused_start_leaves_no_descriptor_open(socket_path):
    socket_path.write_text("mine")
    before = open_descriptors()
    for _ in range(20):
        with pytest.raises(StartError):
            address.bind(socket_path)
    assert open_descriptors() == before


async def test_a_data_directory_that_is_a_file_is_not_running(tmp_path):
    (tmp_path / "var").write_text("")
    with pytest.raises(NotRunning):
        await request(tmp_path / "var" / "control.sock", Command.STATUS)


@pytest.mark.parametrize(
    ("peer", "own", "allowed"), [(0, 0, True), (0, 7, True), (7, 7, True), (8, 7, False), (7, 0, False)]
)
def test_root_and_the_own_user_may_steer(peer, own, allowed):
    assert address.may_steer(peer, own=own) is allowed


STRANGER = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    sock.connect(sys.argv[1])
    sock.sendall(b'{"command": "listener.stop", "name": "graphql-api"}\\n')
    print(sock.makefile().readline())
except PermissionError:
    print("EACCES")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_another_user_is_refused_by_the_file_and_by_the_server(listeners, log, logged):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "control.sock"
        async with asyncio.TaskGroup() as group, serve(path, listeners, group=group, log=log):
            assert await as_stranger(path) == "EACCES"
            path.chmod(0o666)
            assert "user 65534 may not steer" in await as_stranger(path)
    assert all(listeners.running.values())
    assert logged[0]["uid"] == 65534


async def as_stranger(path: Path) -> str:
    command = [sys.executable, "-c", STRANGER, str(path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


async def test_a_socket_without_permission_says_so(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root is permitted everything")
    path = tmp_path / "control.sock"
    abandoned(path)
    path.chmod(0)
    with pytest.raises(ControlError, match="not permitted"):
        await request(path, Command.STATUS)
