"""How live state looks on the wire, and where a reader with a cursor begins. No edge is needed for it."""

import json

import pytest

from citadel_edge.errors import RequestError
from citadel_edge.listeners.common.live_places import parse_interval, place
from citadel_edge.listeners.streaming.topics import parse_topics, sse_events, ws_events
from citadel_edge.streams.metrics import Resumed
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic
from citadel_edge.wire.sse import Decoder


@pytest.fixture
def hub():
    return Hub(Clock(), kept=4)


def both(hub, batch):
    """What a reader of either transport sees: topic, cursor, data."""
    events = Decoder().feed(b"".join(sse_events(hub.epoch, batch)))
    frames = [json.loads(frame) for frame in ws_events(b'"op"', hub.epoch, batch)]
    assert all(frame["id"] == "op" and frame["type"] == "event" for frame in frames)
    sse = [(event.event, event.id, json.loads(event.data)) for event in events]
    ws = [(frame["topic"], frame.get("cursor"), _fields(frame)) for frame in frames]
    return sse, ws


def _fields(frame):
    return frame["data"] if frame["topic"] == "lost" else {name: frame[name] for name in ("seq", "at", "data")}


async def test_both_transports_say_the_same(hub):
    with hub.subscribe(list(Topic)) as feed:
        hub.publish(Topic.USAGE, {"text": "Zeilen\nenden\r\n"})
        hub.publish(Topic.METRICS, {"n": 1})
        hub.publish(Topic.HEALTH, {"n": 2})
        sse, ws = both(hub, await feed.batch())
    assert sse == ws
    assert [(topic, cursor) for topic, cursor, _ in sse] == [
        ("usage", f"{hub.epoch}:1"),
        ("health", f"{hub.epoch}:3"),
        ("metrics", f"{hub.epoch}:3"),
    ]
    assert sse[0][2]["data"] == {"text": "Zeilen\nenden\r\n"}


async def test_a_loss_is_told_before_what_follows_it(hub):
    with hub.subscribe([Topic.USAGE]) as feed:
        for n in range(6):
            hub.publish(Topic.USAGE, {"n": n})
        sse, ws = both(hub, await feed.batch())
    assert sse == ws
    assert sse[0] == ("lost", None, {"count": 2, "from": f"{hub.epoch}:1", "to": f"{hub.epoch}:2"})
    assert [data["data"]["n"] for _, _, data in sse[1:]] == [2, 3, 4, 5]


async def test_a_place_is_found_for_every_cursor(hub):
    topics = frozenset([Topic.USAGE, Topic.HEALTH])
    for n in range(6):
        hub.publish(Topic.USAGE, {"n": n})
    assert place(hub, topics, None).recovered is None
    assert place(hub, frozenset([Topic.HEALTH]), f"{hub.epoch}:0").recovered is Resumed.FULL
    whole = place(hub, topics, f"{hub.epoch}:2")
    assert (whole.recovered, whole.after) == (Resumed.FULL, 2)
    torn = place(hub, topics, f"{hub.epoch}:1")
    assert (torn.recovered, torn.after) == (Resumed.NONE, 1)
    assert torn.told["lost"] == {"from": f"{hub.epoch}:2", "to": f"{hub.epoch}:2"}
    for foreign in ("elsewher:3", f"{hub.epoch}:7"):
        found = place(hub, topics, foreign)
        assert (found.recovered, found.after, found.told["lost"]) == (Resumed.NONE, 0, None)
    with pytest.raises(RequestError, match="cursor"):
        place(hub, topics, "no cursor")


@pytest.mark.parametrize("wrong", ["0.19", "60.1", "nan", "inf", "", "soon", -1, 0])
def test_an_interval_out_of_bounds_is_refused(wrong):
    with pytest.raises(RequestError, match=r"from 0\.2 to 60"):
        parse_interval(wrong)


def test_what_is_not_said_is_every_topic_once_a_second():
    assert parse_topics([""]) == frozenset(Topic)
    assert parse_topics(["health", " usage "]) == {Topic.HEALTH, Topic.USAGE}
    assert [parse_interval(value) for value in (None, "0.2", 60, 2.5)] == [1.0, 0.2, 60.0, 2.5]
    with pytest.raises(RequestError, match="known are health, breakers"):
        parse_topics(["health", "wealth"])
