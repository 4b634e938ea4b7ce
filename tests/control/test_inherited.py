import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

from citadel_edge.control.inherited import inherited_sockets

ADOPT = """
import fcntl, json, os, sys
fds = json.loads(sys.argv[1])
copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for index, fd in enumerate(copies):
    os.dup2(fd, 3 + index)
environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)), **json.loads(sys.argv[2])}
from citadel_edge.control.inherited import inherited_sockets
from citadel_edge.errors import StartError
try:
    found = inherited_sockets(environ)
except StartError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({
        "ports": {name: sock.getsockname()[1] for name, sock in found.items()},
        "blocking": any(sock.getblocking() or sock.get_inheritable() for sock in found.values()),
        "environ": environ,
    }))
"""


def adopt(*socks: socket.socket, **environ: str) -> dict:
    fds = [sock.fileno() for sock in socks]
    command = [sys.executable, "-c", ADOPT, json.dumps(fds), json.dumps(environ)]
    done = subprocess.run(command, pass_fds=fds, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        yield one, two


def test_sockets_come_by_their_names_and_the_variables_go(listening):
    one, two = listening
    found = adopt(one, two, LISTEN_FDNAMES="graphql-api:routing-api", HOME="/x")
    assert found["ports"] == {"graphql-api": one.getsockname()[1], "routing-api": two.getsockname()[1]}
    assert found["blocking"] is False
    assert found["environ"] == {"HOME": "/x"}


def test_two_sockets_of_one_name_are_refused(listening):
    assert "two inherited sockets" in adopt(*listening, LISTEN_FDNAMES="graphql-api:graphql-api")["error"]


def test_a_socket_that_does_not_listen_is_refused():
    with socket.socket() as plain, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        assert "does not listen" in adopt(plain, LISTEN_FDNAMES="graphql-api")["error"]
        assert "does not listen" in adopt(datagrams, LISTEN_FDNAMES="graphql-api")["error"]


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path):
    with (tmp_path / "plain").open("w") as plain:
        assert "is no socket" in adopt(plain, LISTEN_FDNAMES="graphql-api")["error"]


@pytest.mark.parametrize(
    "environ", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "2"}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": "x", "LISTEN_FDS": "y"}]
)
def test_what_is_meant_for_another_is_left_alone(environ):
    assert inherited_sockets(dict(environ)) == {}


def test_a_count_that_is_no_number_is_no_socket():
    assert inherited_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}) == {}


ANSWER = """
import os
from citadel_edge.control.inherited import inherited_sockets
sock = inherited_sockets(os.environ)["routing-api"]
sock.setblocking(True)
peer, _ = sock.accept()
peer.sendall(b"served by the activated one")
"""


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="Debian's systemd is not installed")
async def test_a_client_that_came_before_the_process_is_served():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", "--fdname=routing-api"]
    activator = await asyncio.create_subprocess_exec(
        *command,
        *(f"--setenv={name}" for name in os.environ if name.startswith("COVERAGE")),
        sys.executable,
        "-c",
        ANSWER,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert await asyncio.wait_for(asks(port), 30) == b"served by the activated one"
        assert await asyncio.wait_for(activator.wait(), 30) == 0
    finally:
        if activator.returncode is None:
            activator.kill()
            await activator.wait()


async def asks(port: int) -> bytes:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
            continue
        answer = await reader.read()
        writer.close()
        return answer
