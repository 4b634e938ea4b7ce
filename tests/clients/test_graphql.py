"""The graph as other people's clients ask it, over each of its transports; and the audits of GraphQL over HTTP."""

import json

import aiohttp
import pytest
from gql import Client, GraphQLRequest, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportConnectionFailed, TransportQueryError
from gql.transport.websockets import WebsocketsTransport

from citadel_edge.config.shape import ListenerName
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from clients.readers import said

pytestmark = pytest.mark.usefixtures("full_speed")
SLOW = SimulatorOptions(timing=Timing(decode_ms=4))
AUDITS = 61
CHAT = {
    "model": "sim-model",
    "messages": [{"role": "USER", "content": "Tell me of rockets."}],
    "maxTokens": 80,
}
QUERY = {"query": "query Models($first: Int) { models(first: $first) { nodes { name } } }", "variables": {"first": 5}}
MUTATION = {
    "query": "mutation Say($chat: ChatInput!) { chat(input: $chat) { errors { message } content } }",
    "variables": {"chat": CHAT},
}
SUBSCRIPTION = {
    "query": "subscription Hear($chat: ChatInput!)"
    " { chat(input: $chat) { errors { message } text end { outcome } moved } }",
    "variables": {"chat": CHAT},
}
PARTS = {"query": "query Parts { viewer { name ... @defer { tier } } }", "variables": {}}
WRONG = {"query": "{ nope }"}
MODELS = {"models": {"nodes": [{"name": "sim-model"}]}}
OPERATIONS = [QUERY, MUTATION, SUBSCRIPTION]


@pytest.fixture
async def served(edge_with):
    async with edge_with(options=(SLOW,)) as served:
        yield served


def graph(served):
    return served.url("/graphql", ListenerName.GRAPHQL)


def assert_answered(results, text):
    """What OPERATIONS answer."""
    query, mutation, events = ([each["data"] for each in payloads] for payloads in results)
    assert query == [MODELS]
    assert mutation == [{"chat": {"errors": [], "content": text}}]
    assert "".join(each["chat"]["text"] for each in events) == text
    assert [each["chat"]["end"] for each in events if each["chat"]["end"]] == [{"outcome": "DONE"}]
    assert events[-1]["chat"]["end"] is not None
    assert len(events) > 3


async def test_all_audits_of_graphql_over_http_are_passed(served, node):
    results = await node.ask("graphql_audit.mjs", url=graph(served), headers=served.as_user())
    assert [each for each in results if each["status"] != "ok"] == []
    assert len(results) == AUDITS


async def test_graphql_ws_runs_each_kind_of_operation_on_one_socket(served, node):
    text = await said(served)
    told = {"url": graph(served).replace("http", "ws", 1), "operations": OPERATIONS, "wrong": WRONG}
    heard = await node.ask("graphql_ws.mjs", key=served.keys.demo_key, **told)
    assert_answered(heard["results"], text)
    assert "nope" in heard["refused"][0]["message"]
    refused = await node.ask("graphql_ws.mjs", key="cit_wrong", **told)
    assert refused["closed"]["code"] == 4403


@pytest.mark.parametrize("single", [False, True], ids=["distinct connections", "single connection"])
async def test_graphql_sse_runs_each_kind_of_operation(served, node, single):
    text = await said(served)
    told = {"url": graph(served), "key": served.keys.demo_key, "operations": OPERATIONS, "wrong": WRONG}
    heard = await node.ask("graphql_sse.mjs", single=single, **told)
    assert_answered(heard["results"], text)
    assert ("400" if single else "nope") in json.dumps(heard["refused"])


async def test_urql_asks_whole_in_parts_and_live(served, node):
    text = await said(served)
    told = {"query": QUERY, "mutation": MUTATION, "parts": PARTS, "subscription": SUBSCRIPTION}
    heard = await node.ask("graphql_urql.mjs", url=graph(served), key=served.keys.demo_key, **told)
    assert {each["error"] for results in heard.values() for each in results} == {None}
    assert heard["query"][-1]["data"]["models"]["nodes"][0]["name"] == "sim-model"
    assert heard["mutation"][-1]["data"]["chat"]["content"] == text
    assert heard["parts"][-1]["data"]["viewer"]["tier"] == "free"
    assert [each["hasNext"] for each in heard["parts"]] == [True, False]
    *events, last = heard["subscription"]  # urql says the last one again when nothing comes behind it
    assert last["data"] == events[-1]["data"]
    assert "".join(each["data"]["chat"]["text"] for each in events) == text


def asked(operation):
    return GraphQLRequest(gql(operation["query"]), variable_values=operation["variables"])


async def test_gql_asks_over_http_and_hears_over_a_websocket(served):
    text = await said(served)
    http = AIOHTTPTransport(graph(served), headers=served.as_user())
    async with Client(transport=http, fetch_schema_from_transport=True) as session:
        assert await session.execute(asked(QUERY)) == MODELS
        assert (await session.execute(asked(MUTATION)))["chat"]["content"] == text
    async with Client(transport=AIOHTTPTransport(graph(served), headers=served.as_user())) as session:
        with pytest.raises(TransportQueryError, match="nope"):
            await session.execute(gql(WRONG["query"]))
    url = graph(served).replace("http", "ws", 1)
    socket = WebsocketsTransport(url, init_payload=served.as_user(), connect_args={"proxy": None})
    async with Client(transport=socket) as session:
        assert await session.execute(asked(QUERY)) == MODELS
        events = [event["chat"] async for event in session.subscribe(asked(SUBSCRIPTION))]
        assert "".join(event["text"] for event in events) == text
    wrong = WebsocketsTransport(url, init_payload={"Authorization": "Bearer x"}, connect_args={"proxy": None})
    with pytest.raises((TransportConnectionFailed, aiohttp.ClientError)):
        async with Client(transport=wrong):
            pass
