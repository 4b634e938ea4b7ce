"""The graph of a running edge, over HTTP: what it answers, to whom, and which documents it does not even read."""

import asyncio
import time

from graphql import get_introspection_query

from citadel_edge.config.shape import GraphQLConfig, ListenerName
from citadel_edge.graph.cost_introspection import FULLEST
from citadel_edge.listeners.graphql.schema import read_schema

GRAPH = ListenerName.GRAPHQL


async def ask(served, query, *, who=None, **more):
    async with served.client.post(
        served.url("/graphql", GRAPH), json={"query": query, **more}, headers=who or served.as_admin()
    ) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_it_answers_the_caller_the_models_and_the_fleet(edge_with):
    async with edge_with() as served:
        status, body = await ask(
            served,
            "{ viewer { name role tier } models(first: 100) { nodes { name aliases inputUsdPerMtok } }"
            " upstreams { nodes { plainId healthy state breaker { state } } } listeners { name status tasks }"
            " services { name status } }",
        )
        data = body["data"]
        assert status == 200
        assert data["viewer"] == {"name": "admin", "role": "ADMIN", "tier": "unlimited"}
        assert data["models"]["nodes"] == [{"name": "sim-model", "aliases": ["sim-alias"], "inputUsdPerMtok": 1.0}]
        assert data["upstreams"]["nodes"] == [
            {"plainId": "sim-0", "healthy": True, "state": "ACTIVE", "breaker": {"state": "CLOSED"}}
        ]
        assert [row["name"] for row in data["listeners"]] == [name.value for name in ListenerName]
        assert {"name": "postgres", "status": "UP"} in data["services"]


async def test_a_user_sees_no_fleet_and_still_the_rest(edge_with):
    async with edge_with() as served:
        _, body = await ask(served, "{ viewer { name } upstreams { nodes { id } } }", who=served.as_user())
        assert body["data"] == {"viewer": {"name": "demo"}, "upstreams": None}
        assert body["errors"][0]["extensions"]["code"] == "forbidden"


async def test_a_chat_is_answered_and_said_in_the_log(edge_with):
    async with edge_with() as served:
        query = "mutation($c: ChatInput!) { chat(input: $c) { content outcome errors { code } } }"
        chat = {"model": "sim-model", "messages": [{"role": "USER", "content": "Say something."}]}
        status, body = await ask(served, query, who=served.as_user(), variables={"c": chat})
        assert (status, body["data"]["chat"]["outcome"], body["data"]["chat"]["errors"]) == (200, "DONE", [])
        assert body["data"]["chat"]["content"]
        assert "tokens_out" in served.log.getvalue()


async def test_variables_names_and_get(edge_with):
    async with edge_with() as served:
        query = "query A { viewer { id } } query B($m: String!) { model(name: $m) { name } }"
        _, body = await ask(served, query, operationName="B", variables={"m": "sim-alias"})
        assert body["data"] == {"model": {"name": "sim-model"}}
        async with served.client.get(
            served.url("/graphql", GRAPH),
            params={"query": query, "operationName": "B", "variables": '{"m": "none"}'},
            headers=served.as_user(),
        ) as answer:
            assert (await answer.json())["data"] == {"model": None}


async def test_the_schema_is_published_as_written(edge_with):
    async with edge_with(options=()) as served:
        url = served.url("/schema.graphql", GRAPH)
        async with served.client.get(url, headers=served.as_user()) as answer:
            text = await answer.text()
        assert text == await asyncio.to_thread(read_schema)
        async with served.client.get(url) as answer:
            assert (answer.status, (await answer.json())["code"]) == (401, "invalid_api_key")


ATTACKS = (
    "{" + "viewer{id} " * 240 + "}",
    "{" + "b " * 900 + "}",
    "{ models {" + " ".join(f"n{n}:name" for n in range(200)) + "} }",
    "{" + "...{viewer{id}}" * 150 + "}",
    "{ viewer " + "{ id @skip(if: false) " * 80 + "}" * 80 + "}",
    "{ viewer {" + " id @include(if: true)" * 150 + "} }",
)


async def test_a_document_that_attacks_validation_is_refused_before_it(edge_with):
    async with edge_with(options=()) as served:
        accept = {**served.as_user(), "Accept": "application/graphql-response+json"}
        for query in ATTACKS:
            began = time.process_time()
            status, body = await ask(served, query, who=accept)
            assert time.process_time() - began < 1.0  # of the whole process
            assert status == 400, query
            assert body["errors"]


async def test_introspection_passes(edge_with):
    async with edge_with(options=()) as served:
        for query in (get_introspection_query(), get_introspection_query(**FULLEST)):
            status, body = await ask(served, query, who=served.as_user())
            assert status == 200
            assert "errors" not in body
            assert body["extensions"]["cost"]["requested"] <= 100


async def test_the_schema_asked_for_under_many_names_is_refused_for_its_price(edge_with):
    whole = get_introspection_query()
    asked = " ".join(f"s{n}: __schema {{ types {{ ...FullType }} }}" for n in range(3))
    async with edge_with(options=()) as served:
        _, body = await ask(served, f"{{ {asked} }} {whole[whole.index('fragment') :]}", who=served.as_user())
        assert body["errors"][0]["extensions"]["cost"]["requested"] > 5_000
        assert "data" not in body


async def test_an_operation_costs_no_more_than_its_tier_allows(edge_with):
    limits = GraphQLConfig(cost_limit=1, cost_limits={"free": 5000})
    async with edge_with(options=(), changes={"graphql": limits}) as served:
        _, body = await ask(served, "{ viewer { id } }", who=served.as_user())
        assert body["extensions"]["cost"]["limit"] == 5000
        _, body = await ask(served, "{ viewer { id } }")
        assert body["errors"][0]["extensions"]["cost"]["limit"] == 1
        assert "data" not in body


async def test_operations_and_documents_are_counted(edge_with):
    async with edge_with(options=()) as served:
        for _ in range(3):
            await ask(served, "{ viewer { id } }", who=served.as_user())
        await ask(served, "{ nope }", who=served.as_user())
        async with served.client.get(served.url("/metrics", GRAPH)) as answer:
            shown = await answer.text()
    for line in (
        'citadel_graphql_operations_total{kind="query",listener="graphql-api",outcome="done"} 3.0',
        'citadel_graphql_operations_total{kind="unread",listener="graphql-api",outcome="refused"} 1.0',
        'citadel_graphql_duration_seconds_count{kind="query",listener="graphql-api"} 3.0',
        'citadel_graphql_cost_count{listener="graphql-api",part="requested"} 3.0',
        'citadel_graphql_subscriptions{listener="graphql-api",transport="websocket"} 0.0',
        'citadel_graphql_documents_total{listener="graphql-api",outcome="read"} 2.0',
        'citadel_graphql_documents_total{listener="graphql-api",outcome="remembered"} 2.0',
    ):
        assert line in shown, line
