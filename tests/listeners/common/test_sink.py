"""A client's end: one that does not read, one that left, and what a large answer costs."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from citadel_edge.listeners.common import sink as sinks
from citadel_edge.listeners.common.sink import ClientGone, ClientStalled, HttpSink

BIG = b"x" * (32 * 2**20)  # more than the kernel takes on both ends


@asynccontextmanager
async def answered(answer):
    """A raw client's socket, whose request is given to `answer(sink)`, and the task's future of what came of that."""
    loop = asyncio.get_running_loop()
    outcome = loop.create_future()

    async def handle(request):
        sink = HttpSink(request)
        try:
            outcome.set_result(await answer(sink))
        except ClientGone as error:
            outcome.set_exception(error)
        return sink.response or web.Response()

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, runner.addresses[0][:2])
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            yield client, outcome
        finally:
            await runner.cleanup()


async def read_all(client, *, pause_s=0.0):
    got = bytearray()
    while part := await asyncio.get_running_loop().sock_recv(client, 2**20):
        got += part
        await asyncio.sleep(pause_s)
    return bytes(got)


async def send_whole(sink):
    await sink.begin(200, "application/json", {"Content-Length": str(len(BIG))})
    await sink.write(BIG)
    await sink.finish()


async def stream(sink):
    await sink.begin(200, "text/event-stream", {})
    while True:
        await sink.write(b"data: " + b"x" * 1000 + b"\n\n")


@pytest.mark.parametrize("answer", [send_whole, stream])
async def test_a_client_that_does_not_read_is_let_go(monkeypatch, answer):
    monkeypatch.setattr(sinks, "WRITE_WITHIN_S", 0.2)
    async with answered(answer) as (_, outcome):
        with pytest.raises(ClientStalled, match="took no byte"):
            await asyncio.wait_for(outcome, 20)


async def test_the_end_of_a_stream_waits_no_longer(monkeypatch):
    monkeypatch.setattr(sinks, "WRITE_WITHIN_S", 0.2)

    async def finish_behind_a_full_buffer(sink):
        await sink.begin(200, "text/event-stream", {})
        transport = sink._request.transport
        await sink.write(b"data: x\n\n")
        while transport.get_write_buffer_size() <= transport.get_write_buffer_limits()[1]:
            transport.write(b" " * 2**20)
        await sink.finish()

    async with answered(finish_behind_a_full_buffer) as (_, outcome):
        with pytest.raises(ClientStalled):
            await asyncio.wait_for(outcome, 20)


async def test_a_slow_reader_is_not_let_go_and_gets_every_byte(monkeypatch):
    monkeypatch.setattr(sinks, "WRITE_WITHIN_S", 1.0)
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with answered(send_whole) as (client, outcome):
        got = await asyncio.wait_for(read_all(client, pause_s=0.05), 60)
        assert got.partition(b"\r\n\r\n")[2] == BIG
        await outcome
    assert loop.time() - start > 1.0, "longer than any one piece may take"


@pytest.mark.parametrize("answer", [send_whole, stream])
async def test_a_client_that_leaves_is_gone_and_not_stalled(answer):
    async with answered(answer) as (client, outcome):
        await asyncio.get_running_loop().sock_recv(client, 100)
        client.close()
        with pytest.raises(ClientGone) as caught:
            await asyncio.wait_for(outcome, 20)
        assert not isinstance(caught.value, ClientStalled)


async def test_a_token_into_an_empty_buffer_sets_no_timer(monkeypatch):
    asked = []
    timeout = asyncio.timeout
    monkeypatch.setattr(asyncio, "timeout", lambda delay: asked.append(delay) or timeout(delay))

    async def ten_tokens(sink):
        await sink.begin(200, "text/event-stream", {})
        for _ in range(10):
            await sink.write(b"data: x\n\n")
        written = len(asked)
        await sink.finish()
        return written

    async with answered(ten_tokens) as (client, outcome):
        assert (await read_all(client)).count(b"data: x") == 10
        assert await outcome == 0
