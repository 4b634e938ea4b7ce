"""The published schema: sound by itself, whole, and what is read is what it says."""

import json

import pytest
from jsonschema import Draft202012Validator

from citadel_edge.config.shape import ListenerName
from citadel_edge.listeners.streaming.websocket.messages import Error, read
from citadel_edge.listeners.streaming.websocket.schema import document

CLIENT = Draft202012Validator({**document(), "anyOf": [{"$ref": "#/$defs/FromClient"}]})
GOOD = [
    {"id": "1", "type": "chat", "request": {"model": "m", "messages": []}},
    {"id": 1, "type": "chat", "request": {}, "on_disconnect": "finish", "grace_s": 0, "optimize": "cost"},
    {"id": "1", "type": "resume", "stream": "str_1"},
    {"id": "1", "type": "resume", "stream": "str_1", "after": "abc:1", "unknown": 1},
    {"id": "1", "type": "subscribe"},
    {"id": "1", "type": "subscribe", "topics": ["usage"], "interval_s": 2},
    {"id": "1", "type": "cancel", "stop": False},
    {"id": "1", "type": "ping"},
]
BAD = [
    {},
    [],
    {"id": "1"},
    {"type": "ping"},
    {"id": "", "type": "ping"},
    {"id": 1.5, "type": "ping"},
    {"id": "1", "type": "pong"},
    {"id": "1", "type": "chat"},
    {"id": "1", "type": "chat", "request": {}, "on_disconnect": "never"},
    {"id": "1", "type": "chat", "request": {}, "grace_s": -1},
    {"id": "1", "type": "resume"},
    {"id": "1", "type": "resume", "stream": 5},
    {"id": "1", "type": "subscribe", "topics": "usage"},
    {"id": "1", "type": "subscribe", "recent": -1},
]


@pytest.mark.parametrize("message", GOOD, ids=json.dumps)
def test_what_the_schema_allows_is_read(message):
    CLIENT.validate(message)
    assert not isinstance(read(json.dumps(message)), Error)


@pytest.mark.parametrize("message", BAD, ids=json.dumps)
def test_what_the_schema_forbids_is_refused(message):
    assert not CLIENT.is_valid(message)
    assert isinstance(read(json.dumps(message)), Error)


def test_every_message_and_each_of_its_fields_that_needs_words_has_them():
    Draft202012Validator.check_schema(document())
    defined = document()["$defs"]
    assert set("Chat Resume Subscribe Cancel Ping Ack Token Event Done Error Pong".split()) < set(defined)
    for name in ("Chat", "Subscribe", "Token", "Done"):
        assert defined[name]["description"]
        told = {field for field, schema in defined[name]["properties"].items() if "description" in schema}
        assert set(defined[name]["properties"]) - told <= {
            "id",
            "type",
            "outcome",
            "stream",
            "cost_usd",
            "attempts",
            "data",
        }, name


async def test_it_is_served_without_a_key_and_named_in_the_api_s_description(edge_with):
    async with edge_with(options=()) as served:
        async with served.client.get(served.url("/v1/ws/schema", ListenerName.STREAMING)) as answer:
            assert (answer.status, answer.content_type) == (200, "application/schema+json")
            assert json.loads(await answer.read()) == json.loads(json.dumps(document()))
        async with served.client.get(served.url("/openapi.json", ListenerName.STREAMING)) as answer:
            paths = (await answer.json())["paths"]
        assert paths["/v1/ws/schema"]["get"]["security"] == []
        assert [each["name"] for each in paths["/v1/ws"]["get"]["parameters"]] == ["ticket"]
