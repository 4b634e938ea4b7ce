"""`citadel.v1` over a WebSocket."""

import json

import aiohttp
import pytest

from citadel_edge.config.shape import BudgetConfig, HttpConfig, ListenerName
from citadel_edge.health.verdict import ListenerState

STREAMING = ListenerName.STREAMING


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
