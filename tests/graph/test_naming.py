"""Which text is meant: sent, persisted before, or trusted; and every way to be wrong about it."""

import json

import pytest
from graphql import get_introspection_query

from citadel_edge.errors import StartError
from citadel_edge.graph.answers import Refused, Stage
from citadel_edge.graph.lru import Room
from citadel_edge.graph.settings import GraphSettings
from citadel_edge.graph.trusted import Trust, digest, read_trusted
from citadel_edge.graph.wanted import Wanted

QUERY = "query Mine { said }"


def persisted(text, **more):
    return {"persistedQuery": {"version": 1, "sha256Hash": digest(text)} | more}


async def refused(graph, **wanted):
    with pytest.raises(Refused) as caught:
        await graph.prepare(Wanted(**wanted))
    (error,) = caught.value.errors
    return caught.value.status, error["extensions"]["code"], error["message"]


async def test_a_hash_is_unknown_until_it_came_with_its_text(graph):
    wanted = Wanted(extensions=persisted(QUERY))
    with pytest.raises(Refused) as caught:
        await graph.prepare(wanted)
    assert caught.value.status == 200
    assert caught.value.errors == (
        {"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}},
    )
    await graph.prepare(Wanted(query=QUERY, extensions=persisted(QUERY)))
    assert (await graph.prepare(wanted)).name == "Mine"


async def test_a_hash_that_is_another_texts_is_refused_and_not_kept(graph):
    status, code, _ = await refused(graph, query="{ slow }", extensions=persisted(QUERY))
    assert (status, code) == (400, "invalid_request")
    assert (await refused(graph, extensions=persisted(QUERY)))[2] == "PersistedQueryNotFound"


async def test_a_bad_text_is_not_kept_by_its_hash(graph):
    assert "nope" in (await refused(graph, query="{ nope }", extensions=persisted("{ nope }")))[2]
    assert (await refused(graph, extensions=persisted("{ nope }")))[2] == "PersistedQueryNotFound"


@pytest.mark.parametrize(
    "sent", ["x", {}, {"version": 2, "sha256Hash": "a" * 64}, {"version": 1}, {"version": 1, "sha256Hash": 7}]
)
async def test_a_persisted_query_that_is_none_is_a_bad_request(graph, sent):
    status, code, _ = await refused(graph, query=QUERY, extensions={"persistedQuery": sent})
    assert (status, code) == (400, "invalid_request")


async def test_what_clients_have_kept_stays_within_its_room(graph_with):
    graph = graph_with(settings=GraphSettings(persisted=Room(2, 10**6)))
    texts = [f"{{ a{number}: said }}" for number in range(3)]
    for text in texts:
        await graph.prepare(Wanted(query=text, extensions=persisted(text)))
    assert (await refused(graph, extensions=persisted(texts[0])))[2] == "PersistedQueryNotFound"
    await graph.prepare(Wanted(extensions=persisted(texts[2])))


async def test_persisted_queries_may_be_switched_off(graph_with):
    graph = graph_with(settings=GraphSettings(persisted=None))
    assert (await refused(graph, extensions=persisted(QUERY)))[1] == "PERSISTED_QUERY_NOT_SUPPORTED"


@pytest.mark.parametrize("query", [None, ""])
async def test_no_document_at_all_is_a_bad_request(graph, query):
    with pytest.raises(Refused, match="send a GraphQL document") as caught:
        await graph.prepare(Wanted(query=query))
    assert (caught.value.stage, caught.value.status) == (Stage.REQUEST, 400)


DEEP = "{ book(id: 1) { author { books(first: 1) { author { books(first: 1) { author { id } } } } } } }"


def trusting(trust):
    return GraphSettings(trust=trust, trusted={"deep": DEEP, digest(DEEP): DEEP})


@pytest.mark.parametrize(
    "wanted",
    [
        {"document_id": "deep"},
        {"document_id": digest(DEEP)},
        {"document_id": f"sha256:{digest(DEEP)}"},
        {"extensions": persisted(DEEP)},
        {"query": DEEP, "extensions": persisted(DEEP)},
        {"query": DEEP},
    ],
)
@pytest.mark.parametrize("trust", [Trust.PREFER, Trust.ONLY])
async def test_a_trusted_document_runs_by_id_hash_or_text_and_without_bounds(graph_with, reader, wanted, trust):
    graph = graph_with(settings=trusting(trust))
    answer = await graph.run(await graph.prepare(Wanted(**wanted)), reader)
    assert answer.data == {"book": {"author": None}} or answer.errors == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"query": QUERY},
        {"query": QUERY, "extensions": persisted(QUERY)},
        {"extensions": persisted(QUERY)},
        {"document_id": "unknown"},
        {"query": get_introspection_query()},
        {},
    ],
)
async def test_where_only_trusted_documents_run_no_other_does(graph_with, wanted):
    status, code, _ = await refused(graph_with(settings=trusting(Trust.ONLY)), **wanted)
    assert (status, code) == (403, "forbidden")


async def test_where_trusted_documents_are_preferred_others_run_within_bounds(graph_with):
    graph = graph_with(settings=trusting(Trust.PREFER))
    await graph.prepare(Wanted(query=QUERY))
    assert "levels of fields" in (await refused(graph, query=DEEP + " "))[2]
    assert (await refused(graph, document_id="unknown"))[:2] == (404, "not_found")


async def test_where_nothing_is_trusted_ids_lead_nowhere(graph_with):
    assert (await refused(graph_with(settings=trusting(Trust.OFF)), document_id="deep"))[:2] == (404, "not_found")


def test_a_folder_of_operations_and_manifests_is_read_and_the_schema_in_it_is_passed_over(tmp_path):
    (tmp_path / "models.graphql").write_text("query Models { said }")
    (tmp_path / "schema.graphql").write_text("type Query { said: String }")
    (tmp_path / "notes.txt").write_text("no document")
    (tmp_path / "relay.json").write_text(json.dumps({"abc": "{ slow }"}))
    (tmp_path / "apollo.json").write_text(
        json.dumps(
            {"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": "x", "body": "{ a }"}]}
        )
    )
    assert read_trusted(tmp_path) == {
        "models": "query Models { said }",
        digest("query Models { said }"): "query Models { said }",
        "abc": "{ slow }",
        "x": "{ a }",
    }


def test_no_folder_is_no_documents(tmp_path):
    assert read_trusted(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.graphql", "{"),
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.json", '{"x": 7}'),
        ("a.json", '{"operations": [{"id": "x"}]}'),
        ("a.json", '{"models": "{ other }"}'),
    ],
)
def test_a_file_that_is_no_trusted_document_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    (tmp_path / "models.graphql").write_text("query Models { said }")
    with pytest.raises(StartError, match=r"a\.|models"):
        read_trusted(tmp_path)
