"""What a connection lives through and what ends it: frames of every kind, clients that read nothing or say nothing."""

import asyncio
import json
import socket

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from websockets.exceptions import InvalidStatus

from citadel_edge.config.shape import BudgetConfig, HttpConfig
from citadel_edge.errors import RequestError
from citadel_edge.listeners.common.websocket import connection, line
from citadel_edge.listeners.streaming.websocket.closing import CODES
from citadel_edge.process.drain import drain
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from edges import serving
from websocket_client import STREAMING, talking, text_of, whole_text

pytestmark = pytest.mark.usefixtures("full_speed")
SLOW = SimulatorOptions(timing=Timing(decode_ms=20), shortest=400, longest=400)
LONG = SimulatorOptions(shortest=4000, longest=4000)
PING = {"id": "p", "type": "ping"}
HANDSHAKE = (
    "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: {}\r\n\r\n"
)


async def until(condition, within_s=10.0):
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


def frame(data, opcode=1, *, fin=True, mask=b"abcd"):
    """A frame as a client sends it, of less than 64 KiB."""
    masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2)
    return bytes([opcode | (0x80 if fin else 0)]) + size + mask + masked


async def raw_socket(served, who, *, buffer_bytes=None):
    client = socket.socket()
    if buffer_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, served.doors[STREAMING].address)
    reader, writer = await asyncio.open_connection(sock=client)
    writer.write(HANDSHAKE.format(who["Authorization"]).encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


async def heard_raw(reader):
    """The opcode and the data of a frame."""
    opcode, size = await asyncio.wait_for(reader.readexactly(2), 10)
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
    return opcode & 15, await reader.readexactly(size)


async def test_what_is_no_message_gets_an_error_and_the_connection_lives_on(edge_with):
    async with edge_with(options=()) as served, talking(served, served.as_user()) as talk:
        for wrong in ("", " ", "no json", "[]", "null", '"ping"', "[" * 5000, '{"id":' * 5000, "{}", b"\x00\xff", b""):
            answer = await talk.ask(wrong)
            assert (answer["type"], answer["id"], answer["code"]) == ("error", None, "invalid_request"), wrong
        for wrong in ({"id": "1", "type": "dance"}, {"id": "1"}, {"id": "1", "type": "cancel", "stop": "yes"}):
            assert (await talk.ask(wrong))["id"] == "1"
        for name in ("", "x" * 129, 2**53, 1.5, True, None, [], {}):
            assert (await talk.ask({"id": name, "type": "ping"}))["type"] == "error", name
        for name in ("x", "x" * 128, "ü🧪", "\u0000", 0, -(2**53) + 1):
            assert await talk.ask({"id": name, "type": "ping"}) == {"id": name, "type": "pong"}
        assert await talk.ask({**PING, "more": [1, 2]}) == {"id": "p", "type": "pong"}


async def test_a_thousand_pings_of_both_kinds_are_answered_in_order(edge_with):
    async with edge_with(options=()) as served, talking(served, served.as_user()) as talk:
        for n in range(1000):
            await talk.socket.send(json.dumps({"id": n, "type": "ping"}))
        assert [(await talk.hear())["id"] for _ in range(1000)] == list(range(1000))
        pongs = [await talk.socket.ping() for _ in range(1000)]
        await asyncio.wait_for(asyncio.gather(*pongs), 10)


async def test_frames_may_be_torn_anywhere_and_messages_fragmented(edge_with):
    async with edge_with(options=()) as served:
        reader, writer = await raw_socket(served, served.as_user())
        text = json.dumps(PING).encode()
        for byte in frame(text):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert json.loads((await heard_raw(reader))[1]) == {"id": "p", "type": "pong"}
        writer.write(frame(text[:5], fin=False) + frame(b"!", opcode=9) + frame(text[5:], opcode=0))
        assert await heard_raw(reader) == (10, b"!")
        assert json.loads((await heard_raw(reader))[1])["type"] == "pong"
        writer.close()


CLOSED = [
    (frame(b"x", opcode=3), 1002),
    (bytes([0xC1, 0x81]) + b"abcdx", 1002),
    (frame(b"\xff"), 1007),
    (frame((1006).to_bytes(2), opcode=8), 1002),
    (frame((4000).to_bytes(2) + b"bye", opcode=8), 4000),
    (frame(b"", opcode=8), 1000),
]


async def test_broken_frames_and_close_frames_are_answered_as_rfc_6455_wants(edge_with):
    async with edge_with(options=()) as served:
        for data, code in CLOSED:
            reader, writer = await raw_socket(served, served.as_user())
            writer.write(data)
            opcode, said = await heard_raw(reader)
            assert (opcode, int.from_bytes(said[:2])) == (8, code)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
        await nothing_is_left(served)
        shown = await metrics_of(served)
        for reason, count in (("protocol", 3), ("done", 3)):
            labels = f'listener="streaming-api",reason="{reason}",transport="websocket"'
            assert f"citadel_streaming_disconnects_total{{{labels}}} {count}.0" in shown


async def nothing_is_left(served, kept=0):
    """But so many connections that their client keeps for other requests."""
    await until(lambda: (s := served.edge.budgets[STREAMING].snapshot())["tasks"] == s["spawned"] == 0)
    await until(lambda: served.doors[STREAMING].connections.open == kept)


async def test_a_huge_message_is_closed_with_1009_and_a_large_one_is_read(edge_with):
    bound = {"http": HttpConfig(max_body_bytes=100_000)}
    async with edge_with(options=(), changes=bound) as served, talking(served, served.as_user()) as talk:
        assert (await talk.ask({**PING, "more": "x" * 90_000}))["type"] == "pong"
        await talk.say({**PING, "more": "x" * 110_000})
        assert (await talk.closed()).code == 1009


async def test_a_subprotocol_that_is_not_ours_is_refused_in_words(edge_with):
    async with edge_with(options=()) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with talking(served, served.as_user(), subprotocols=["graphql-transport-ws"]):
                pass
        assert refused.value.response.status_code == 400
        assert b"citadel.v1" in refused.value.response.body
        async with talking(served, served.as_user(), subprotocols=["other", "citadel.v1"]) as talk:
            assert talk.socket.subprotocol == "citadel.v1"
        async with talking(served, served.as_user(), subprotocols=None) as talk:
            assert (await talk.ask(PING))["type"] == "pong"


async def flooded(served, stream):
    """A client that reads nothing of what it asked for, far more than the buffers on its way take."""
    reader, writer = await raw_socket(served, served.as_user(), buffer_bytes=65536)
    reader._transport.pause_reading()
    for n in range(40):
        writer.write(frame(json.dumps({"id": n, "type": "resume", "stream": stream}).encode()))
    return reader, writer


async def test_a_client_that_reads_nothing_is_closed_in_words_and_may_resume(edge_with, monkeypatch):
    monkeypatch.setattr(line, "SEND_WITHIN_S", 0.5)
    async with edge_with(options=(LONG,)) as served:
        request = served.chat(max_tokens=4000)
        whole = await whole_text(served, request)
        async with talking(served, served.as_user()) as talk:
            stream = (await talk.chat(request))["stream"]
            await talk.rest("chat-1")
        budget = served.edge.budgets[STREAMING]
        before = budget.snapshot()["bytes"]
        reader, writer = await flooded(served, stream)
        await until(lambda: budget.snapshot()["bytes"] > before)
        await asyncio.sleep(0.6)
        assert budget.snapshot()["bytes"] - before < 40 * 2 * 256 * 2**10
        reader._transport.resume_reading()
        messages = []
        while (heard := await heard_raw(reader))[0] != 8:
            messages += [json.loads(heard[1])] if heard[0] == 1 else []
        assert int.from_bytes(heard[1][:2]) == 4408
        resume, named, cursor = heard[1][2:].decode().split()
        assert (resume, named) == ("resume", stream)
        assert cursor in {each.get("cursor") for each in messages}
        assert whole.startswith(text_of([each for each in messages if each["id"] == 0]))
        writer.close()
        await nothing_is_left(served, kept=1)
        assert budget.snapshot()["bytes"] == before
        monkeypatch.setattr(connection, "CLOSE_WITHIN_S", 0.3)
        reader, writer = await flooded(served, stream)  # and never reads again
        await until(lambda: budget.snapshot()["bytes"] > before)
        await nothing_is_left(served, kept=1)
        assert budget.snapshot()["bytes"] == before
        assert 'reason="slow",transport="websocket"} 2.0' in await metrics_of(served)
        writer.close()


async def test_a_message_on_its_way_is_held_by_the_listener_and_has_its_time(edge_with, monkeypatch):
    monkeypatch.setattr(line, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(line, "MESSAGE_WITHIN_S", 0.5)
    bound = BudgetConfig(memory_mb=1)
    async with edge_with(options=(), budget=bound) as served:
        budget = served.edge.budgets[STREAMING]
        reader, writer = await raw_socket(served, served.as_user())
        writer.write(b"\x81\xff" + (2**21).to_bytes(8) + b"abcd" + b"x" * 500_000)
        await until(lambda: budget.snapshot()["bytes"] > 490_000)
        other, beside = await raw_socket(served, served.as_user())
        beside.write(b"\x81\xff" + (2**21).to_bytes(8) + b"abcd" + b"x" * 700_000)
        assert int.from_bytes((await heard_raw(other))[1][:2]) == 1013
        while (heard := await heard_raw(reader))[0] != 8:
            assert heard[0] == 9
            writer.write(b"xxxx")
        assert int.from_bytes(heard[1][:2]) == 4408
        writer.close()
        beside.close()
        await nothing_is_left(served)
        assert budget.snapshot()["bytes"] == 0


async def metrics_of(served):
    async with served.client.get(served.url("/metrics", STREAMING)) as answer:
        return await answer.text()


async def test_a_client_that_answers_no_ping_is_parted_with(edge_with, monkeypatch):
    monkeypatch.setattr(line, "HEARTBEAT_S", 0.1)
    async with edge_with(options=()) as served:
        async with talking(served, served.as_user(), ping_interval=None) as talk:
            await asyncio.sleep(0.5)
            assert (await talk.ask(PING))["type"] == "pong"
        reader, writer = await raw_socket(served, served.as_user())
        opcodes = []
        while not opcodes or opcodes[-1] != 8:
            opcode, said = await heard_raw(reader)
            opcodes.append(opcode)
        assert int.from_bytes(said[:2]) == 4499
        assert set(opcodes[:-1]) == {9}
        writer.close()
        await nothing_is_left(served, kept=1)


async def test_a_draining_process_says_where_to_resume_and_another_goes_on(
    edge_with, migrated_dsn, redis_url, tmp_path
):
    (tmp_path / "beside").mkdir()
    async with edge_with(options=(SLOW,)) as one:
        request = one.chat(max_tokens=400)
        one.simulators[0].slow(0.0)
        whole = await whole_text(one, request)
        one.simulators[0].slow(1.0)
        async with talking(one, one.as_user()) as talk, talking(one, one.as_user()) as idle:
            ack = await talk.chat(request)
            for _ in range(10):
                await talk.hear()
            async with asyncio.TaskGroup() as group:
                group.create_task(drain(one.edge, list(one.doors.values()), 2.0))
                assert (await idle.closed()).code == 1001
                assert (await talk.ask({"id": "late", "type": "chat", "request": request}))["id"] != "late"
                goodbye = await talk.closed()
        refused = next(each for each in talk.heard if each["id"] == "late")
        assert (refused["type"], refused["code"], "outcome" in refused) == ("error", "listener_stopped", False)
        error = next(each for each in talk.heard if each.get("outcome") == "moved")
        place = [each["cursor"] for each in talk.heard if each["type"] == "token"][-1]
        assert (error["id"], error["stream"], error["cursor"]) == (ack["id"], ack["stream"], place)
        assert (goodbye.code, goodbye.reason) == (1001, f"resume {ack['stream']} {place}")
        one.simulators[0].slow(0.0)
        async with (
            serving(dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path / "beside", beside=one) as other,
            talking(other, one.as_user()) as again,
        ):
            await again.say({"id": "on", "type": "resume", "stream": ack["stream"], "after": place})
            rest = await again.rest("on")
        assert text_of([*talk.heard, *rest]) == whole
        assert rest[-1]["outcome"] == "done"


async def test_the_place_to_come_back_to_is_behind_what_the_transport_has(edge_with):
    async with edge_with(options=(), budget=BudgetConfig(memory_mb=24)) as served, asyncio.TaskGroup() as group:
        budget, lines = served.edge.budgets[STREAMING], []

        async def serve(request):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            lines.append(line.Line(socket, request.transport, budget, CODES))
            await socket.receive()
            return socket

        app = web.Application()
        app.router.add_get("/", serve)
        async with TestServer(app) as server, served.client.ws_connect(server.make_url("/"), max_msg_size=0) as client:
            await until(lambda: lines)
            (way,) = lines
            held = budget.snapshot()["bytes"]
            first = group.create_task(way.send(b"x" * 2**24, ("str_a", "abc:1")))
            await until(lambda: budget.snapshot()["bytes"] == held + 2**24)
            assert way.place == ("str_a", "abc:1")
            second = group.create_task(way.send(b"y" * 2**20, ("str_a", "abc:2")))
            await until(lambda: budget.snapshot()["bytes"] == held + 2**24 + 2**20)
            with pytest.raises(RequestError, match="hold"):
                await way.send(b"z" * 2**24, ("str_a", "abc:3"))
            assert (way.place, first.done(), second.done()) == (("str_a", "abc:1"), False, False)
            assert [len((await client.receive()).data) for _ in range(2)] == [2**24, 2**20]
            await second
            assert way.place == ("str_a", "abc:2")
