"""The door itself, over real sockets: what it refuses before any request exists, and how it closes."""

import asyncio
import json
import ssl
import subprocess
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from citadel_edge.config.shape import HttpConfig, ListenerConfig, ListenerName, Tls
from citadel_edge.errors import StartError
from citadel_edge.listeners.common.door import bind, open_door, tls_context
from citadel_edge.telemetry.clock import Clock

BOUNDS = HttpConfig(header_timeout_s=0.4, max_header_bytes=32_768, max_connections=8, idle_timeout_s=5)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def opened(*, bounds=BOUNDS, handler=None, tls=None):
    async def hello(_):
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_route("*", "/", handler or hello)
    listener = ListenerConfig(port=0, tls=tls)
    bound = bind(ListenerName.ROUTING, "127.0.0.1", 0)
    door = await open_door(
        ListenerName.ROUTING, app, bound=bound, listener=listener, http=lambda: bounds, clock=Clock()
    )
    try:
        yield door
    finally:
        await door.close()


async def talk(door, data, *, pause_s=0.0):
    """Send, read to the end; status line, headers, body."""
    reader, writer = await asyncio.open_connection(*door.address)
    writer.write(data)
    await asyncio.sleep(pause_s)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def parsed(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode().lower(), json.loads(body)


async def test_a_head_that_drips_is_refused_in_time():
    async with opened() as door:
        reader, writer = await asyncio.open_connection(*door.address)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for byte in GET[:12]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        status, head, body = parsed(await asyncio.wait_for(reader.read(), 5))
        writer.close()
        assert (status, body["code"]) == (408, "request_timeout")
        assert "connection: close" in head
        assert loop.time() - began < 3


async def test_a_connection_that_says_nothing_is_closed_without_a_word():
    async with opened() as door:
        assert await talk(door, b"") == b""


@pytest.mark.parametrize("head", [GET, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"])
async def test_an_answer_may_take_longer_than_a_head(head):
    async def slow(request):
        await request.read()
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(12):
            await answer.write(b".")
            await asyncio.sleep(0.1)
        return answer

    async with opened(handler=slow) as door:
        reader, writer = await asyncio.open_connection(*door.address)
        for _ in range(2):  # on the same connection
            writer.write(head)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 5)
            assert answer.count(b"\r\n.\r\n") == 12
        writer.close()


async def test_a_websocket_is_heard_for_longer_and_of_more_than_a_head():
    async def echo(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async with opened(handler=echo) as door, aiohttp.ClientSession() as client:
        host, port = door.address
        async with client.ws_connect(f"http://{host}:{port}/") as socket:
            for text in ("a", "b" * 2 * BOUNDS.max_header_bytes, "c"):
                await socket.send_str(text)
                assert await asyncio.wait_for(socket.receive_str(), 5) == text
                await asyncio.sleep(BOUNDS.header_timeout_s + 0.2)


async def test_a_swollen_head_is_refused_with_431():
    head = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 8000) for n in range(100))
    async with opened() as door:
        status, _, body = parsed(await talk(door, head + b"\r\n"))
        assert (status, body["code"]) == (431, "headers_too_large")


async def test_one_line_too_long_is_refused_with_431():
    async with opened() as door:
        answer = await talk(door, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n")
        status, _, body = parsed(answer)
        assert (status, body["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_is_no_http_gets_a_problem_not_a_page(data):
    async with opened() as door:
        status, head, body = parsed(await talk(door, data + b"\r\n\r\n"))
        assert status == 400
        assert "\r\nserver: citadel-edge\r\n" in head
        assert "aiohttp" not in head
        assert body["code"] == "invalid_request"
        assert body["request_id"]


async def test_one_connection_too_many_is_told_so_and_the_others_live():
    async with opened() as door:
        held = [await asyncio.open_connection(*door.address) for _ in range(8)]
        status, head, body = parsed(await talk(door, GET))
        assert (status, body["code"]) == (503, "overloaded")
        assert "retry-after: 1" in head
        assert "\r\nserver: citadel-edge\r\n" in head
        reader, writer = held[0]
        writer.write(GET)
        assert b"200 OK" in await reader.readline()
        for _, each in held:
            each.close()


async def test_a_second_request_on_a_connection_has_its_own_time():
    async with opened(bounds=replace(BOUNDS, header_timeout_s=1.0)) as door:
        reader, writer = await asyncio.open_connection(*door.address)
        for _ in range(3):
            writer.write(GET)
            answer = await reader.readuntil(b"hello")
            assert b"200 OK" in answer
            await asyncio.sleep(0.5)
        writer.close()


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nHost:", b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000])
async def test_a_head_behind_a_busy_request_keeps_the_bounds(head):
    async def slow(_):
        await asyncio.sleep(1)
        return web.Response(text="first")

    async with opened(handler=slow) as door:
        reader, writer = await asyncio.open_connection(*door.address)
        writer.write(GET)
        await asyncio.sleep(0.1)
        writer.write(head)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert b"first" in answer
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"HTTP/1.1 4" not in answer or b"headers_too_large" in answer
        writer.close()


async def test_closing_lets_an_answer_under_way_finish():
    entered = asyncio.Event()

    async def slow(_):
        entered.set()
        await asyncio.sleep(0.3)
        return web.Response(text="whole")

    async with opened(handler=slow) as door:
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(talk(door, GET))
            await entered.wait()
            door.stop_accepting()
            await door.wait_idle()
        assert answer.result().endswith(b"whole")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*door.address)


async def test_closing_waits_for_no_connection_that_is_idle():
    async with opened() as door, aiohttp.ClientSession() as client:
        async with client.get(door.url) as answer:
            assert await answer.text() == "hello"
        reader, writer = await asyncio.open_connection(*door.address)
        await asyncio.sleep(0.05)
        assert door.connections.open == 2
        door.stop_accepting()
        await asyncio.wait_for(door.wait_idle(), 5)
        assert await reader.read() == b""
        writer.close()


async def test_closing_cancels_what_does_not_finish():
    entered, gone = asyncio.Event(), asyncio.Event()

    async def endless(_):
        entered.set()
        try:
            await asyncio.sleep(3600)
        finally:
            gone.set()

    async with opened(handler=endless) as door:
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(talk(door, GET))
            await entered.wait()
            await door.close()
        assert gone.is_set()
        assert answer.result() == b""


async def test_a_port_that_is_taken_is_a_clear_start_error():
    async with opened() as door:
        host, port = door.address
        with pytest.raises(StartError, match=rf"listeners.graphql-api: cannot bind {host}:{port}: .*free the port"):
            bind(ListenerName.GRAPHQL, host, port)


async def test_tls_is_served_and_said_in_the_url(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    await asyncio.to_thread(
        subprocess.run, [*make, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=60
    )
    async with opened(tls=Tls(cert=cert, key=key)) as door:
        assert door.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(cert))
        trusting.check_hostname = False
        async with aiohttp.ClientSession() as client, client.get(door.url, ssl=trusting) as answer:
            assert await answer.text() == "hello"
        assert await talk(door, GET) == b""  # plain HTTP is no handshake
        await asyncio.wait_for(door.wait_idle(), 5)
        assert door.connections.open == 0


async def test_a_certificate_that_cannot_be_read_is_a_clear_start_error(tmp_path):
    missing = Tls(cert=tmp_path / "no.pem", key=tmp_path / "no.key")
    with pytest.raises(StartError, match=r"listeners.routing-api.tls: .*no.pem.* cannot be used"):
        tls_context(ListenerName.ROUTING, missing)


async def test_who_gives_up_waiting_for_a_client_to_take_bytes_takes_no_others_wait_along():
    done = asyncio.get_running_loop().create_future()

    async def stuck(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        async with asyncio.TaskGroup() as group:
            patient = group.create_task(fill(answer))
            await asyncio.sleep(0.1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await fill(answer)
            with pytest.raises(TimeoutError):  # and not the cancelled future of the one before
                async with asyncio.timeout(0.05):
                    await fill(answer)
            done.set_result(patient.done())
        return answer

    async def fill(answer):
        while True:
            await answer.write(b"x" * 2**20)
            if done.done():
                return

    async with opened(handler=stuck) as door:
        reader, writer = await asyncio.open_connection(*door.address, limit=1024)
        writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert await asyncio.wait_for(done, 10) is False
        while await asyncio.wait_for(reader.read(2**20), 10):
            pass
        writer.close()
