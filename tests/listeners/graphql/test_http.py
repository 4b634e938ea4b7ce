"""The graph over HTTP: types and statuses of answers, what is refused, and what ends with a client that leaves."""

import asyncio
import json

import pytest

from citadel_edge.config.shape import GraphQLConfig
from citadel_edge.graph.settings import GraphSettings
from shelf import GRAPH, shelf_on

NEW, OLD = "application/graphql-response+json", "application/json"
BOOK = "{ book { title } }"


@pytest.fixture
async def shelf(edge_with):
    async with edge_with(options=()) as served, shelf_on(served) as shelf:
        yield shelf


async def sent(shelf, method, *, params=None, data=None, **headers):
    """The status, the type and the body of an answer; a header's underscores are dashes."""
    told = {**shelf.served.as_user(), **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with shelf.served.client.request(method, shelf.url, params=params, data=data, headers=told) as answer:
        return answer, await answer.json(content_type=None)


async def test_the_type_and_the_status_are_those_that_the_client_takes(shelf):
    for query, status in ((BOOK, 200), ("{", 400), ("{ nope }", 400), ("query ($n: Int!) { large(size: $n) }", 400)):
        for accept, expected in ((NEW, status), (OLD, 200), ("*/*", 200)):
            body = json.dumps({"query": query})
            answer, said = await sent(shelf, "POST", data=body, Accept=accept, Content_Type=OLD)
            assert (answer.status, answer.content_type) == (expected, NEW if accept == NEW else OLD), query
            assert ("data" in said, "errors" in said) == (status == 200, status != 200)
    body = json.dumps({"query": "{ broken }"})
    answer, said = await sent(shelf, "POST", data=body, Accept=NEW, Content_Type=OLD)
    assert (answer.status, said["data"]) == (200, {"broken": None})
    answer, said = await sent(shelf, "POST", data=json.dumps({"query": BOOK}), Accept="text/html", Content_Type=OLD)
    assert (answer.status, answer.content_type) == (406, OLD)
    assert "application/json" in said["errors"][0]["message"]


async def test_a_get_reads_its_address_and_never_changes_anything(shelf):
    params = {"query": "query A { who } query B($n: Int!) { large(size: $n) }", "operationName": "B"}
    answer, said = await sent(shelf, "GET", params={**params, "variables": '{"n": 2}', "extensions": "{}"})
    assert (answer.status, said["data"]) == (200, {"large": "xx"})
    answer, said = await sent(shelf, "GET", params={"query": 'mutation { add(title: "x") { title } }'})
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert said["errors"][0]["extensions"]["code"] == "method_not_allowed"
    for wrong in ({}, {"query": ""}, {"query": BOOK, "variables": "[]"}, {"query": BOOK, "extensions": "{"}):
        answer, said = await sent(shelf, "GET", params=wrong)
        assert (answer.status, said["errors"][0]["extensions"]["code"]) == (400, "invalid_request"), wrong


async def test_what_is_no_request_is_refused_in_words(shelf):
    for wrong in ("", "{", "7", '"x"', "null", "{}", '{"query": 7}', '{"query": "{a}", "variables": []}', "[" * 5000):
        answer, said = await sent(shelf, "POST", data=wrong, Content_Type=OLD)
        assert (answer.status, said["errors"][0]["extensions"]["code"]) == (400, "invalid_request"), wrong
    answer, said = await sent(shelf, "POST", data=json.dumps([{"query": BOOK}]), Content_Type=OLD)
    assert answer.status == 400
    assert "batches are not taken" in said["errors"][0]["message"]
    answer, said = await sent(shelf, "POST", data=json.dumps({"query": "subscription { silent }"}), Content_Type=OLD)
    assert answer.status == 406
    assert "text/event-stream" in said["errors"][0]["message"]
    for method in ("PATCH", "HEAD", "OPTIONS", "TRACE"):
        async with shelf.served.client.request(method, shelf.url, headers=shelf.served.as_user()) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "DELETE, GET, POST, PUT")
    assert shelf.figure("operations_total", kind="unread", outcome="refused") > 0


async def test_what_another_site_s_page_could_send_is_refused(shelf):
    body = json.dumps({"query": BOOK})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer, _ = await sent(shelf, "POST", data=body, Content_Type=kind)
        assert answer.status == 415, kind
    async with shelf.served.client.post(
        shelf.url, data=body.encode(), headers=shelf.served.as_user(), skip_auto_headers=("Content-Type",)
    ) as answer:
        assert answer.status == 415
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer, said = await sent(
            shelf, method, params={"query": BOOK}, data=None, Sec_Fetch_Site="cross-site", Content_Type=OLD
        )
        assert (answer.status, said["code"]) == (403, "forbidden"), method
    for site in ("same-origin", "same-site", "none"):
        answer, _ = await sent(shelf, "POST", data=body, Content_Type=OLD, Sec_Fetch_Site=site)
        assert answer.status == 200, site


async def test_without_a_key_nothing_is_answered(shelf):
    for method in ("GET", "POST", "PUT", "DELETE"):
        async with shelf.served.client.request(method, shelf.url, params={"query": BOOK}) as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_what_nobody_foresaw_is_masked_with_the_request_s_id(shelf):
    answer, said = await sent(
        shelf, "POST", data=json.dumps({"query": "{ broken }"}), Content_Type=OLD, X_Request_Id="req-of-mine"
    )
    assert said["errors"][0]["extensions"] == {"code": "internal", "request_id": "req-of-mine"}
    assert answer.headers["X-Request-Id"] == "req-of-mine"
    assert "hunter2" not in json.dumps(said)
    shelf.failing.append(ValueError("the password is hunter2"))
    answer, said = await sent(shelf, "POST", data=json.dumps({"query": BOOK}), Content_Type=OLD)
    assert (answer.status, said["code"]) == (500, "internal")
    assert shelf.figure("operations_total", kind="query", outcome="partial") == 1


async def test_a_client_that_leaves_ends_its_operation(shelf):
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(shelf.post("{ slow book { slow } }"))
        await shelf.until_said("began")
        asked.cancel()
    await shelf.until_said("cancelled")
    await shelf.nothing_is_left()
    assert shelf.said == ["began", "began", "cancelled", "cancelled"]
    assert shelf.figure("operations_total", kind="query", outcome="cancelled") == 1


async def test_a_slow_operation_ends_in_time_and_the_answer_says_so(edge_with):
    settings = GraphSettings(query_timeout_s=0.2)
    async with edge_with(options=()) as served, shelf_on(served, settings) as shelf:
        for accept in (NEW, OLD):
            status, said = await shelf.post("{ slow }", accept=accept)
            assert (status, said["errors"][0]["extensions"]["code"]) == (504, "deadline_exceeded")
        assert shelf.said == ["began", "cancelled"] * 2


async def test_a_key_that_ends_ends_its_operations_in_words(shelf):
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(shelf.post("{ slow }"))
        await shelf.until_said("began")
        shelf.served.edge.presence.end_all()
    status, said = asked.result()
    assert (status, said["code"]) == (503, "listener_stopped")
    await shelf.nothing_is_left()


async def test_where_the_schema_is_not_to_be_read_it_is_not(edge_with):
    asked = {"query": "{ __schema { queryType { name } } }"}
    async with edge_with(options=(), changes={"graphql": GraphQLConfig(introspection=False)}) as served:
        headers = {**served.as_admin(), "Accept": NEW}
        async with served.client.post(served.url("/graphql", GRAPH), json=asked, headers=headers) as answer:
            assert answer.status == 403
            assert "data" not in await answer.json(content_type=None)
        async with served.client.get(served.url("/schema.graphql", GRAPH), headers=served.as_admin()) as answer:
            assert (answer.status, (await answer.json())["code"]) == (403, "forbidden")
