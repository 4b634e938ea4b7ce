"""graphql-transport-ws: how a connection begins, what runs on it, and each code that ends it."""

import asyncio
import json
import socket as sockets
import time

import pytest
from websockets.exceptions import InvalidStatus

from citadel_edge.config.shape import ListenerName
from citadel_edge.listeners.common.websocket import connection, line
from citadel_edge.listeners.graphql.websocket import routes
from citadel_edge.process.drain import drain
from citadel_edge.streams.metrics import Transport
from shelf import GRAPH, PROTOCOL, shelf_on, talking

pytestmark = pytest.mark.usefixtures("full_speed")
BOOK = "{ book { title } }"
RATE_LIMITING = ListenerName.RATE_LIMITING


@pytest.fixture
async def shelf(edge_with):
    async with edge_with(options=()) as served, shelf_on(served) as shelf:
        yield shelf


def begun(shelf, **options):
    return talking(shelf.url, init=shelf.served.as_user(), **options)


async def test_queries_mutations_and_subscriptions_run_side_by_side(shelf):
    async with begun(shelf) as socket:
        assert socket.socket.subprotocol == PROTOCOL
        await socket.subscribe("q", "query Q($n: Int!) { large(size: $n) }", variables={"n": 2}, operationName="Q")
        payload = {"data": {"large": "xx"}, "extensions": {"cost": {"requested": 1, "actual": 1, "limit": 5000}}}
        assert await socket.rest("q") == [
            {"id": "q", "type": "next", "payload": payload},
            {"id": "q", "type": "complete"},
        ]
        await socket.subscribe("q", 'mutation { add(title: "New") { title } }')
        assert (await socket.rest("q"))[0]["payload"]["data"] == {"add": {"title": "New"}}
        await socket.subscribe("s", "subscription { silent }")
        await socket.subscribe("t", "subscription { ticks(to: 3) }")
        found = await socket.rest("t")
        assert [each["payload"]["data"]["ticks"] for each in found[:-1]] == [0, 1, 2]
        assert found[-1] == {"id": "t", "type": "complete"}
        await socket.subscribe("d", "{ book { title ... @defer { late } } }")
        assert [each["payload"]["hasNext"] for each in (await socket.rest("d"))[:-1]] == [True, False]
        assert shelf.figure("subscriptions", transport="websocket") == 1
    await shelf.until_said("closed")
    await shelf.nothing_is_left()
    assert shelf.figure("operations_total", kind="subscription", outcome="cancelled") == 1


async def test_what_fails_ends_with_one_error_and_the_connection_lives_on(shelf):
    async with begun(shelf) as socket:
        for query in ("{", "{ nope }", "query A { who } query B { who }", "query ($n: Int!) { large(size: $n) }"):
            await socket.subscribe("e", query)
            (error,) = await socket.rest("e")
            assert (error["type"], error["payload"][0]["extensions"]["code"]) == ("error", "invalid_request"), query
            assert error["payload"][0]["extensions"]["request_id"], query
        await socket.subscribe("e", "subscription { broken }")
        *_, last = await socket.rest("e")
        assert (last["type"], last["payload"][0]["extensions"]["code"]) == ("error", "internal")
        assert "hunter2" not in json.dumps(last)
        await socket.subscribe("e", "{ broken }")
        assert (await socket.rest("e"))[0]["payload"]["data"] == {"broken": None}


async def test_a_client_may_end_an_operation_and_use_its_id_again_at_once(shelf):
    async with begun(shelf) as socket:
        await socket.say(type="complete", id="never begun")
        for _ in range(3):
            await socket.subscribe("o", "{ slow }")
            await shelf.until_said("began")
            await socket.say(type="complete", id="o")
        await shelf.until_said("cancelled")
        await socket.subscribe("o", BOOK)
        assert [each["type"] for each in await socket.rest("o")] == ["next", "complete"]


async def test_pings_are_answered_and_pongs_are_taken(shelf):
    async with talking(shelf.url) as socket:
        await socket.say(type="ping")
        assert await socket.hear() == {"type": "pong"}
        await socket.say(type="pong", payload={"a": 1})
        await socket.say(type="ping", payload={"n": 1})
        assert await socket.hear() == {"type": "pong", "payload": {"n": 1}}


WRONG = [
    "",
    "no json",
    "[]",
    "null",
    "{}",
    '{"type": "dance"}',
    '{"type": "connection_ack"}',
    '{"type": "connection_init", "payload": 7}',
    '{"type": "subscribe", "payload": {"query": "{ who }"}}',
    '{"type": "subscribe", "id": 1, "payload": {"query": "{ who }"}}',
    '{"type": "subscribe", "id": "", "payload": {"query": "{ who }"}}',
    '{"type": "subscribe", "id": "a", "payload": {"query": 7}}',
    '{"type": "subscribe", "id": "a"}',
    "[" * 9000,
    b"\x00",
]


async def test_4400_closes_on_what_is_no_message(shelf):
    for wrong in WRONG:
        async with begun(shelf) as socket:
            await socket.socket.send(wrong)
            code, reason = await socket.closed()
            assert (code, reason.startswith("Invalid message")) == (4400, True), wrong


async def test_4401_closes_on_an_operation_before_the_acknowledgement(shelf):
    async with talking(shelf.url) as socket:
        await socket.subscribe("a", BOOK)
        assert await socket.closed() == (4401, "Unauthorized")


async def test_4403_closes_on_a_key_that_is_none_and_an_upgrade_may_show_one(shelf):
    key = shelf.served.as_user()["Authorization"]
    for payload in ({}, {"Authorization": ""}, {"Authorization": "Bearer x"}, {"Authorization": 7}, {"other": key}):
        async with talking(shelf.url) as socket:
            await socket.say(type="connection_init", payload=payload)
            assert (await socket.closed())[0] == 4403, payload
    async with talking(shelf.url) as socket:
        await socket.say(type="connection_init")
        assert (await socket.closed())[0] == 4403
    async with talking(shelf.url, init={"authorization": key}):
        pass
    async with talking(shelf.url, additional_headers={"Authorization": key}, init={}):
        pass
    for wrong in ({"Authorization": "Bearer x"}, {"Sec-Fetch-Site": "cross-site"}):
        with pytest.raises(InvalidStatus) as refused:
            async with talking(shelf.url, additional_headers=wrong):
                pass
        assert refused.value.response.status_code in {401, 403}


async def test_4406_closes_on_another_subprotocol_or_none(shelf):
    for offered in (["graphql-ws"], ["citadel.v1", "soap"], None):
        async with talking(shelf.url, subprotocols=offered) as socket:
            code, reason = await socket.closed()
            assert (code, PROTOCOL in reason) == (4406, True)
    async with talking(shelf.url, subprotocols=["graphql-ws", PROTOCOL]) as socket:
        assert socket.socket.subprotocol == PROTOCOL


async def test_4408_closes_after_three_seconds_without_a_word(shelf, monkeypatch):
    assert routes.INIT_WITHIN_S == 3
    monkeypatch.setattr(routes, "INIT_WITHIN_S", 0.2)
    async with talking(shelf.url) as socket, begun(shelf) as other:
        await socket.say(type="ping")
        assert await socket.closed() == (4408, "Connection initialisation timeout")
        await other.subscribe("a", BOOK)
        await other.rest("a")


async def test_4409_closes_on_an_id_that_is_taken_even_while_it_is_prepared(shelf):
    async with begun(shelf) as socket:
        await socket.subscribe("a", "subscription { silent }")
        await socket.subscribe("a", BOOK)
        assert await socket.closed() == (4409, "Subscriber for a already exists")
    await shelf.until_said("closed")
    long = (
        "{ " + " ".join(f"b{n}: book {{ title pages title pages title pages title pages }}" for n in range(15)) + " }"
    )
    assert len(long) > 800  # it is read on a thread
    async with begun(shelf) as socket:
        await socket.subscribe("b", long)
        await socket.subscribe("b", BOOK)
        assert (await socket.closed())[0] == 4409
    await shelf.nothing_is_left()


async def test_4429_closes_on_a_second_initialisation(shelf):
    async with begun(shelf) as socket:
        await socket.say(type="connection_init", payload=shelf.served.as_user())
        assert await socket.closed() == (4429, "Too many initialisation requests")


async def test_4500_closes_on_a_fault_of_ours_and_tells_nothing(shelf):
    shelf.failing.append(ValueError("the password is hunter2"))
    async with begun(shelf) as socket:
        await socket.subscribe("a", BOOK)
        assert await socket.closed() == (4500, "Internal server error")
    await shelf.nothing_is_left()


async def test_a_hundred_operations_run_on_one_connection_and_no_more(shelf):
    async with begun(shelf) as socket:
        for n in range(100):
            await socket.subscribe(str(n), "subscription { silent }")
        await socket.subscribe("one more", BOOK)
        (error,) = await socket.rest("one more")
        assert error["payload"][0]["extensions"]["code"] == "overloaded"
        assert shelf.figure("subscriptions", transport="websocket") == 100
        await socket.say(type="complete", id="7")
        await shelf.until_said("closed")
        await socket.subscribe("7", BOOK)
        assert (await socket.rest("7"))[-1]["type"] == "complete"
    await shelf.nothing_is_left()


async def test_operations_that_were_ended_before_their_first_step_leave_their_places(shelf):
    async with begun(shelf) as socket:
        for n in range(1000):
            await socket.subscribe(str(n), "subscription { silent }")
            await socket.say(type="complete", id=str(n))
            if n % 50 == 49:  # more at a time than run at once would be refused
                await socket.say(type="ping")
                assert await socket.hear() == {"type": "pong"}
        await socket.subscribe("after", BOOK)
        assert [each["type"] for each in await socket.rest("after")] == ["next", "complete"]
    await shelf.nothing_is_left()


async def test_a_client_that_reads_nothing_holds_little_and_is_parted_with(shelf, monkeypatch):
    monkeypatch.setattr(line, "SEND_WITHIN_S", 0.4)
    monkeypatch.setattr(connection, "CLOSE_WITHIN_S", 0.3)
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 65536)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, shelf.door.address)
    async with begun(shelf, sock=raw, max_queue=1) as socket:
        socket.socket.transport.pause_reading()
        for n in range(10):
            await socket.subscribe(str(n), "subscription { large }")
        await shelf.until_said("large")
        before = time.monotonic()
        await shelf.until_said("closed")
        assert time.monotonic() - before < 5
        assert shelf.said.count("large") < 200
        await shelf.nothing_is_left()
        assert shelf.served.edge.stream_metrics.of(GRAPH).open[Transport.WEBSOCKET] == 0
        socket.socket.transport.abort()


async def test_a_client_that_answers_no_ping_is_parted_with(shelf, monkeypatch):
    monkeypatch.setattr(line, "HEARTBEAT_S", 0.1)
    async with begun(shelf) as alive, begun(shelf) as deaf:
        deaf.socket.protocol.receive_data = lambda _: None
        await deaf.socket.send(json.dumps({"type": "pong"}))
        async with asyncio.timeout(5):
            while len(shelf.served.edge.presence) > 1:
                await asyncio.sleep(0.02)
        await alive.subscribe("a", BOOK)
        await alive.rest("a")
        deaf.socket.transport.abort()


async def test_a_revoked_key_ends_its_connections_in_words(shelf):
    edge = shelf.served.edge
    async with begun(shelf) as socket:
        await socket.subscribe("a", "subscription { silent }")
        await shelf.until_said("began")
        principal = await edge.directory.authenticate(shelf.served.keys.demo_key)
        url = shelf.served.url(f"/v1/users/{principal.user_id}/keys/{principal.key_id}", RATE_LIMITING)
        async with shelf.served.client.delete(url, headers=shelf.served.as_admin()) as answer:
            assert answer.status in {200, 204}
        code, reason = await asyncio.wait_for(socket.closed(), 3)
        assert (code, "key" in reason) == (4403, True)
    await shelf.until_said("closed")
    await shelf.nothing_is_left()


async def test_a_draining_process_lets_answers_end_then_says_so(shelf):
    edge = shelf.served.edge
    async with begun(shelf) as socket, begun(shelf) as waiting, begun(shelf) as moved:
        await socket.subscribe("a", "subscription { ticks(to: 4, every: 0.1) }")
        await waiting.subscribe("b", "subscription { silent }")
        await moved.subscribe("c", "subscription { moved }")
        assert (await moved.hear())["payload"]["data"] == {"moved": 1}
        await shelf.until_said("tick 0", "began")
        async with asyncio.TaskGroup() as group:
            group.create_task(drain(edge, [shelf.door], 2.0))
            await asyncio.sleep(0.15)
            shelf.said.append("drained")
            assert [each["type"] for each in await socket.rest("a")][-1] == "complete"
            assert await socket.closed() == (1001, "draining")
            assert await moved.closed() == (1001, "draining")
            assert (await waiting.closed())[0] == 1001
    await shelf.nothing_is_left()
