"""Live state over SSE and WebSocket, from the one hub."""

import asyncio
import json

import aiohttp
import pytest

from citadel_edge.config.shape import BudgetConfig, HttpConfig, ListenerName
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.streaming import events
from citadel_edge.wire.sse import Decoder

STREAMING = ListenerName.STREAMING


async def read_events(answer, count):
    decoder, found = Decoder(), []
    async for chunk in answer.content.iter_any():
        found += decoder.feed(chunk)
        if len(found) >= count:
            break
    return [(event.event, json.loads(event.data)) for event in found]


async def test_sse_tells_the_recent_past_then_what_happens(edge_with):
    async with edge_with() as served:
        served.edge.set_state(ListenerName.GRAPHQL, ListenerState.STOPPED)
        url = served.url("/v1/events?topics=listeners,usage", STREAMING)
        async with served.client.get(url, headers=served.as_admin()) as answer:
            assert answer.content_type == "text/event-stream"
            ((name, first),) = await asyncio.wait_for(read_events(answer, 1), 10)
            assert (name, first["data"]) == ("listeners", {"listener": "graphql-api", "state": "stopped"})
            async with served.client.post(
                served.url("/v1/chat/completions"), json=served.chat(), headers=served.as_user()
            ):
                pass
            ((name, usage),) = await asyncio.wait_for(read_events(answer, 1), 10)
            assert (name, usage["data"]["outcome"]) == ("usage", "done")
            assert usage["seq"] > first["seq"]


async def test_heartbeats_are_one_comment_line(edge_with, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    async with edge_with(options=()) as served:
        url = served.url("/v1/events?topics=limits", STREAMING)
        async with served.client.get(url, headers=served.as_admin()) as answer:
            assert await asyncio.wait_for(answer.content.readuntil(b"\n"), 10) == b": ping\n"
            assert await asyncio.wait_for(answer.content.readuntil(b"\n"), 10) == b": ping\n"


@pytest.mark.parametrize(("topics", "status"), [("nonsense", 400), ("health", 200)])
async def test_unknown_topics_are_refused_by_name(edge_with, topics, status):
    async with (
        edge_with(options=()) as served,
        served.client.get(served.url(f"/v1/events?topics={topics}", STREAMING), headers=served.as_admin()) as answer,
    ):
        assert answer.status == status
        if status == 400:
            assert "known are" in (await answer.json())["detail"]


async def test_live_state_is_for_operators(edge_with):
    async with (
        edge_with(options=()) as served,
        served.client.get(served.url("/v1/events", STREAMING), headers=served.as_user()) as answer,
    ):
        assert answer.status == 403


async def test_readers_who_leave_leave_nothing_behind(edge_with):
    async with edge_with(options=()) as served:
        for _ in range(3):
            async with served.client.get(served.url("/v1/events", STREAMING), headers=served.as_admin()):
                pass
        async with asyncio.timeout(10):
            while sum(served.edge.hub.subscribers().values()) or served.edge.budgets[STREAMING].snapshot()["tasks"]:
                await asyncio.sleep(0.02)


class Talk:
    def __init__(self, socket):
        self._socket = socket

    async def __call__(self, message):
        await self._socket.send_str(message if isinstance(message, str) else json.dumps(message))
        return await self.hear()

    async def hear(self):
        return json.loads(await self._socket.receive_str(timeout=10))


def connected(served, who):
    return served.client.ws_connect(served.url("/v1/ws", STREAMING), headers=who, protocols=("citadel.v1",))


async def test_a_socket_subscribes_cancels_and_pings(edge_with):
    async with edge_with(options=()) as served, connected(served, served.as_admin()) as socket:
        assert socket.protocol == "citadel.v1"
        talk = Talk(socket)
        assert await talk({"id": "1", "type": "ping"}) == {"id": "1", "type": "pong"}
        assert await talk({"id": "2", "type": "subscribe", "topics": ["listeners"]}) == {"id": "2", "type": "ack"}
        served.edge.set_state(ListenerName.GRAPHQL, ListenerState.STOPPED)
        event = await talk.hear()
        assert (event["id"], event["type"], event["topic"]) == ("2", "event", "listeners")
        assert event["data"] == {"listener": "graphql-api", "state": "stopped"}
        assert await talk({"id": "2", "type": "cancel"}) == {"id": "2", "type": "done", "outcome": "cancelled"}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "invalid_request"),
        ("[]", "invalid_request"),
        ("[" * 5000, "invalid_request"),
        ({"type": "ping"}, "invalid_request"),
        ({"id": "1", "type": "dance"}, "invalid_request"),
        ({"id": "1", "type": "subscribe", "topics": ["nonsense"]}, "invalid_request"),
        ({"id": "1", "type": "cancel"}, "not_found"),
    ],
)
async def test_a_wrong_message_gets_an_error_and_the_connection_lives_on(edge_with, message, code):
    async with edge_with(options=()) as served, connected(served, served.as_admin()) as socket:
        talk = Talk(socket)
        answer = await talk(message)
        assert (answer["type"], answer["code"]) == ("error", code)
        assert (await talk({"id": "after", "type": "ping"}))["type"] == "pong"


async def test_an_id_is_used_once_at_a_time_and_subscribing_needs_its_role(edge_with):
    async with edge_with(options=()) as served:
        async with connected(served, served.as_admin()) as socket:
            talk = Talk(socket)
            await talk({"id": "1", "type": "subscribe", "topics": ["limits"]})
            assert (await talk({"id": "1", "type": "subscribe", "topics": ["limits"]}))["code"] == "conflict"
        async with connected(served, served.as_user()) as socket:
            assert (await Talk(socket)({"id": "1", "type": "subscribe"}))["code"] == "forbidden"


async def test_idle_sockets_take_no_seat_and_have_a_bound_of_their_own(edge_with):
    budget, http = BudgetConfig(tasks=1, queue=0), HttpConfig(max_subscriptions=2)
    async with (
        edge_with(budget=budget, changes={"http": http}) as served,
        connected(served, served.as_admin()),
        connected(served, served.as_user()),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connected(served, served.as_admin())
        assert refused.value.status == 503
        url = served.url("/v1/chat/completions", STREAMING)
        async with served.client.post(url, json=served.chat(), headers=served.as_user()) as answer:
            assert answer.status == 200


async def test_a_draining_edge_says_goodbye(edge_with):
    async with edge_with(options=()) as served, connected(served, served.as_admin()) as socket:
        served.edge.draining.set()
        message = await socket.receive(timeout=10)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)


async def test_the_echo_gives_back_what_it_gets_and_is_absent_in_production(edge_with):
    async with edge_with(options=()) as served:
        async with served.client.ws_connect(served.url("/v1/ws/echo", STREAMING)) as socket:
            await socket.send_str("héllo 🌍")
            assert await socket.receive_str(timeout=10) == "héllo 🌍"
            await socket.send_bytes(b"\x00\xff")
            assert await socket.receive_bytes(timeout=10) == b"\x00\xff"
        async with served.client.get(served.url("/v1/ws/echo", STREAMING)) as answer:
            assert answer.status == 400
