"""Live state on a WebSocket."""

import asyncio

import pytest

from citadel_edge.telemetry.hub import Topic
from websocket_client import talking

pytestmark = pytest.mark.usefixtures("full_speed")


async def test_a_subscription_hears_its_topics_in_order_until_it_is_cancelled(edge_with):
    async with edge_with(options=()) as served, talking(served, served.as_admin()) as talk:
        assert await talk.ask({"id": 1, "type": "subscribe", "topics": ["usage"]}) == {"id": 1, "type": "ack"}
        assert (await talk.ask({"id": 2, "type": "subscribe"}))["type"] == "ack"
        for n in range(50):
            served.edge.hub.publish(Topic.USAGE, {"n": n})
        served.edge.hub.publish(Topic.LIMITS, {"last": True})
        while not talk.heard[-1].get("data", {}).get("last"):
            await talk.hear()
        while [e["data"]["n"] for e in talk.heard if e["id"] == 1 and e["type"] == "event"] != list(range(50)):
            await talk.hear()
        assert [e["data"]["n"] for e in talk.heard if e["id"] == 2 and e.get("topic") == "usage"] == list(range(50))
        assert await talk.ask({"id": 1, "type": "subscribe"}) | {"message": ""} == {
            "id": 1,
            "type": "error",
            "code": "conflict",
            "message": "",
        }
        for identity in (1, 2):
            await talk.say({"id": identity, "type": "cancel"})
            assert (await talk.rest(identity))[-1] == {"id": identity, "type": "done", "outcome": "cancelled"}
        served.edge.hub.publish(Topic.USAGE, {"n": "unheard"})
        assert (await talk.ask({"id": 1, "type": "ping"}))["type"] == "pong"
        assert sum(served.edge.hub.subscribers().values()) == 0


async def test_a_subscription_goes_on_from_a_cursor_or_says_what_is_missing(edge_with):
    async with edge_with(options=()) as served, talking(served, served.as_admin()) as talk:
        hub = served.edge.hub
        hub.publish(Topic.USAGE, {"n": 0})
        after = f"{hub.epoch}:{hub.seq}"
        hub.publish(Topic.USAGE, {"n": 1})
        ack = await talk.ask({"id": 1, "type": "subscribe", "topics": ["usage"], "after": after})
        assert ack["recovered"] == "full"
        event = await talk.hear()
        assert (event["data"], event["cursor"]) == ({"n": 1}, f"{hub.epoch}:{hub.seq}")
        ack = await talk.ask({"id": 2, "type": "subscribe", "topics": ["usage"], "after": "zzzzzzzz:1"})
        assert ack["recovered"] == "none"
        assert ack["reason"]
        assert [(await talk.hear())["data"]["n"] for _ in range(2)] == [0, 1]
        refused = await talk.ask({"id": 3, "type": "subscribe", "topics": ["usage"], "after": "nonsense"})
        assert (refused["code"], refused["param"]) == ("invalid_request", "after")
        await talk.ask({"id": 4, "type": "subscribe", "topics": ["usage"], "recent": 1})
        assert (await talk.hear())["data"] == {"n": 1}


async def test_metrics_come_at_the_asked_interval_and_only_the_latest(edge_with):
    async with edge_with(options=()) as served, talking(served, served.as_admin()) as talk:
        for wrong in (0, 0.1, 61, -1):
            refused = await talk.ask({"id": 1, "type": "subscribe", "interval_s": wrong})
            assert (refused["code"], refused["param"]) == ("invalid_request", "interval_s")
        await talk.ask({"id": 1, "type": "subscribe", "topics": ["metrics"], "interval_s": 0.5})
        await asyncio.sleep(1.2)
        assert (await talk.ask({"id": "p", "type": "ping"}))["type"] in ("pong", "event")
        while talk.heard[-1]["type"] != "pong":
            await talk.hear()
        assert len([each for each in talk.heard if each.get("topic") == "metrics"]) in (2, 3)


async def test_only_so_many_operations_run_on_one_connection(edge_with):
    async with edge_with(options=()) as served, talking(served, served.as_admin()) as talk:
        for n in range(100):
            assert (await talk.ask({"id": n, "type": "subscribe", "topics": ["breakers"]}))["type"] == "ack"
        refused = await talk.ask({"id": 100, "type": "subscribe", "topics": ["breakers"]})
        assert (refused["type"], refused["code"]) == ("error", "overloaded")
        assert (await talk.ask({"id": 7, "type": "cancel"}))["outcome"] == "cancelled"
        assert (await talk.ask({"id": 100, "type": "subscribe", "topics": ["breakers"]}))["type"] == "ack"
