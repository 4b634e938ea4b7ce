"""The echo, against a conformance suite of others, and what such suites do not ask."""

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from citadel_edge.config.shape import HttpConfig, ListenerName

ECHO = "/v1/ws/echo"
SLOW = ("9.*", "12.*", "13.*")  # megabytes in small pieces, compression in every width: minutes, and these few of them
FEW_OF_THE_SLOW = ("9.1.1", "9.2.1", "9.7.1", "12.1.1", "13.1.1")


def echo_of(served):
    return served.url(ECHO, ListenerName.STREAMING).replace("http", "ws")


async def run_suite(url, folder, *options):
    command = Path(sys.executable).with_name("kosoku")
    suite = await asyncio.create_subprocess_exec(
        command,
        *("-p", "8", "-o", str(folder), *options, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(suite.communicate(), 60)
    finally:
        if suite.returncode is None:
            suite.kill()
            await suite.wait()
    return suite.returncode, said.decode()


@pytest.mark.usefixtures("full_speed")
@pytest.mark.skipif(find_spec("kosoku") is None, reason="NOT TESTED: the WebSocket conformance suite is not installed")
async def test_the_echo_keeps_to_rfc_6455_in_every_case_of_the_conformance_suite(edge_with, tmp_path):
    async with edge_with(options=()) as served:
        left_out = [word for each in SLOW for word in ("-x", each)]
        status, said = await run_suite(echo_of(served), tmp_path / "all", *left_out)
        assert (status, "cases passed" in said) == (0, True), said
        chosen = [word for each in FEW_OF_THE_SLOW for word in ("-i", each)]
        status, said = await run_suite(echo_of(served), tmp_path / "few", *chosen)
        assert (status, said.splitlines()[-1]) == (0, f"{len(FEW_OF_THE_SLOW)} cases passed"), said


@pytest.mark.usefixtures("full_speed")
async def test_the_bounds_of_http_heads_end_where_a_websocket_begins(edge_with):
    bounds = HttpConfig(header_timeout_s=0.3, max_header_bytes=1024)
    async with edge_with(options=(), changes={"http": bounds}) as served, connect(echo_of(served)) as socket:
        for text in ("short", "long" * 10_000):
            await socket.send(text)
            assert await asyncio.wait_for(socket.recv(), 10) == text
        await asyncio.sleep(0.7)
        await socket.send("late")
        assert await asyncio.wait_for(socket.recv(), 10) == "late"


async def test_a_message_past_the_echo_s_bound_is_closed_with_1009(edge_with):
    async with edge_with(options=()) as served, connect(echo_of(served), max_size=None) as socket:
        await socket.send(b"x" * (32 * 2**20 + 1))
        with pytest.raises(ConnectionClosedError) as closed:
            await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd.code == 1009
