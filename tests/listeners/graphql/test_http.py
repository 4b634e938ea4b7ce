"""The graph over HTTP: what it answers, to whom, and what it refuses."""

import asyncio
import time

import pytest
from graphql import build_schema, get_introspection_query

from citadel_edge.config.shape import ListenerName
from citadel_edge.errors import StartError
from citadel_edge.listeners.graphql.schema import load_schema, read_schema

GRAPH = ListenerName.GRAPHQL


async def ask(served, query, *, who=None, **more):
    async with served.client.post(
        served.url("/graphql", GRAPH), json={"query": query, **more}, headers=who or served.as_admin()
    ) as answer:
        return answer.status, await answer.json()


async def test_it_answers_the_caller_the_models_and_the_fleet(edge_with):
    async with edge_with() as served:
        status, body = await ask(
            served,
            "{ viewer { name role tier } models { name aliases inputUsdPerMtok }"
            " upstreams { id healthy state breaker } listeners { name status tasks } services { name status } }",
        )
        data = body["data"]
        assert status == 200
        assert data["viewer"] == {"name": "admin", "role": "ADMIN", "tier": "unlimited"}
        assert data["models"] == [{"name": "sim-model", "aliases": ["sim-alias"], "inputUsdPerMtok": 1.0}]
        assert data["upstreams"] == [{"id": "sim-0", "healthy": True, "state": "active", "breaker": "CLOSED"}]
        assert [row["name"] for row in data["listeners"]] == [name.value for name in ListenerName]
        assert {"name": "postgres", "status": "up"} in data["services"]


async def test_a_user_sees_no_fleet_and_still_the_rest(edge_with):
    async with edge_with() as served:
        _, body = await ask(served, "{ viewer { name } models { name } }", who=served.as_user())
        assert body["data"]["viewer"]["name"] == "demo"
        _, body = await ask(served, "{ upstreams { id } }", who=served.as_user())
        assert body["errors"][0]["extensions"]["code"] == "forbidden"


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
            assert await answer.json() == {"data": {"model": None}}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "{",
        "{ nope }",
        "{ viewer }",
        "{ viewer { id } " * 1200,
        "query A { viewer { id } } query B { viewer { id } }",
    ],
)
async def test_a_wrong_document_is_400_with_a_reason(edge_with, query):
    async with edge_with(options=()) as served:
        status, body = await ask(served, query)
        assert status == 400
        assert "data" not in body or body["data"] is None
        assert body.get("errors") or body["detail"]


@pytest.mark.parametrize("body", [[], {"query": 7}, {"q": "x"}, "text"])
async def test_a_body_that_is_no_request_is_400(edge_with, body):
    async with (
        edge_with(options=()) as served,
        served.client.post(served.url("/graphql", GRAPH), json=body, headers=served.as_user()) as answer,
    ):
        assert (answer.status, (await answer.json())["code"]) == (400, "invalid_request")


async def test_the_schema_is_published_as_written_and_described_to_the_last_field(edge_with):
    async with edge_with(options=()) as served:
        async with served.client.get(served.url("/schema.graphql", GRAPH)) as answer:
            text = await answer.text()
        assert text == await asyncio.to_thread(read_schema)
    for name, kind in build_schema(text).type_map.items():
        if not name.startswith("__") and hasattr(kind, "fields"):
            assert kind.description, name
            assert [field for field, each in kind.fields.items() if not each.description] == [], name


def test_a_root_field_without_a_resolver_refuses_to_start():
    with pytest.raises(StartError, match="orphan"):
        load_schema(read_schema() + '\nextend type Query { "Nobody resolves it." orphan: Int }')


ATTACKS = (
    "{" + "viewer{id} " * 240 + "}",
    "{" + "b " * 900 + "}",
    "{ models {" + " ".join(f"n{n}:name" for n in range(200)) + "} }",
    "{" + "...{viewer{id}}" * 150 + "}",
    "{ viewer " + "{ id @skip(if: false) " * 80 + "}" * 80 + "}",
    "{ viewer {" + " id @include(if: true)" * 150 + "} }",
)


@pytest.mark.parametrize("query", ATTACKS)
async def test_a_document_that_attacks_validation_is_refused_before_it(edge_with, query):
    async with edge_with(options=()) as served:
        began = time.process_time()
        status, body = await ask(served, query, who=served.as_user())
        assert time.process_time() - began < 3.0  # of the whole process, under coverage, its garbage included
        assert status == 400
        assert body["errors"]


async def test_introspection_passes(edge_with):
    async with edge_with(options=()) as served:
        status, body = await ask(served, get_introspection_query(), who=served.as_user())
        assert status == 200
        assert "errors" not in body
