"""What is refused before anything runs: the operation, the cost, the schema's secrets, the values of variables."""

import msgspec
import pytest
from graphql import get_introspection_query

from citadel_edge.graph.answers import Refused, Stage
from citadel_edge.graph.settings import GraphSettings
from citadel_edge.graph.wanted import Wanted

TWO = "query A { said } query B { slow }"


async def refused(graph, wanted, **more):
    with pytest.raises(Refused) as caught:
        await graph.prepare(wanted, **more)
    return caught.value


def test_a_request_is_decoded_as_the_specification_spells_it():
    sent = (
        b'{"query": "{ a }", "operationName": "A", "variables": {"x": 1}, "extensions": {}, "documentId": "d", "z": 1}'
    )
    assert msgspec.json.decode(sent, type=Wanted) == Wanted("{ a }", {"x": 1}, "A", {}, "d")


async def test_an_operation_is_chosen_by_its_name(graph):
    assert (await graph.prepare(Wanted(query=TWO, operation_name="B"))).name == "B"
    assert (await graph.prepare(Wanted(query="{ said }"))).name is None


@pytest.mark.parametrize(("query", "name"), [(TWO, None), (TWO, "C"), ("{ said }", "A"), (TWO, "")])
async def test_an_operation_that_is_not_there_or_not_named_is_refused(graph, query, name):
    error = await refused(graph, Wanted(query=query, operation_name=name))
    assert (error.stage, error.status) == (Stage.OPERATION, 400)
    assert "operation named" in str(error) or "operation name" in str(error)


@pytest.mark.parametrize("query", ["{", "{ nope }", "{ book { id } }", "{ ...f } fragment f on Query { ...f }"])
async def test_a_bad_document_is_refused_with_its_places(graph, query):
    error = await refused(graph, Wanted(query=query))
    assert (error.stage, error.status) == (Stage.DOCUMENT, 400)
    assert error.errors[0]["locations"]
    assert "data" not in error.answer("req-1").payload()


async def test_an_operation_within_its_cost_runs_and_one_beyond_is_refused_with_both_numbers(graph):
    wanted = Wanted(query="query ($n: Int!) { books(first: $n) { title } }", variables={"n": 10})
    assert (await graph.prepare(wanted, cost_limit=30)).cost == 30
    error = await refused(graph, wanted, cost_limit=29)
    assert error.errors[0]["extensions"] == {"code": "invalid_request", "cost": {"requested": 30, "limit": 29}}


async def test_an_operation_that_cannot_be_priced_is_refused(graph):
    error = await refused(graph, Wanted(query="{ shelf { name books { id } } }"))
    assert "Query.shelf: give exactly one of: first" in str(error)


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ books @stream(initialCount: -1) { id } }", {}),
        ("query ($n: Int!) { ...f } fragment f on Query { books @stream(initialCount: $n) { id } }", {"n": -1}),
        ("query ($n: Int! = -1) { books { related @stream(initialCount: $n) { id } } }", {}),
    ],
)
async def test_a_stream_that_begins_with_less_than_nothing_is_refused(graph, query, variables):
    error = await refused(graph, Wanted(query=query, variables=variables))
    assert (error.stage, error.status) == (Stage.OPERATION, 400)
    assert error.errors[0]["extensions"] == {"code": "invalid_request", "param": "initialCount"}
    assert ("`initialCount`" in error.errors[0]["message"], len(error.errors[0]["locations"])) == (True, 1)


async def test_one_operations_price_is_not_anothers(graph):
    query = "query Good { said } query Bad { shelf { books { id } } }"
    assert (await graph.prepare(Wanted(query=query, operation_name="Good"))).cost == 1
    await refused(graph, Wanted(query=query, operation_name="Bad"))


async def test_introspection_answers_from_memory_the_second_time(graph, reader):
    prepared = await graph.prepare(Wanted(query=get_introspection_query()))
    first = await graph.run(prepared, reader)
    second = await graph.run(prepared, reader)
    assert isinstance(second.data, msgspec.Raw)
    assert not isinstance(first.data, msgspec.Raw)
    assert second.encoded() == first.encoded()


async def test_what_was_asked_of_the_schema_is_remembered_by_its_variables(graph, reader):
    query = "query ($of: String!) { __type(name: $of) { name } }"
    for name in ("Book", "Author", "Book", "Author"):
        answer = await graph.run(await graph.prepare(Wanted(query=query, variables={"of": name})), reader)
        assert msgspec.json.decode(answer.encoded())["data"] == {"__type": {"name": name}}


async def test_what_is_asked_beside_the_schema_is_asked_again(graph, reader):
    prepared = await graph.prepare(Wanted(query="{ __schema { queryType { name } } chat }"))
    for spent in (3, 6):
        await graph.run(prepared, reader)
        assert reader.spent.tokens.tokens_in == spent


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { queryType { name } } }",
        '{ said ...f } fragment f on Query { ... { __type(name: "Book") { name } } }',
    ],
)
async def test_introspection_may_be_switched_off(graph_with, query):
    graph = graph_with(settings=GraphSettings(introspection=False))
    error = await refused(graph, Wanted(query=query))
    assert (error.status, error.errors[0]["extensions"]["code"]) == (403, "forbidden")
    assert "introspection is switched off" in str(error)
    await graph.prepare(Wanted(query="{ __typename said }"))


async def test_without_introspection_mistakes_are_told_without_suggestions(graph_with):
    told = str(await refused(graph_with(), Wanted(query="{ boks { id } }")))
    kept = str(await refused(graph_with(settings=GraphSettings(introspection=False)), Wanted(query="{ boks { id } }")))
    assert "books" in told
    assert "books" not in kept


async def test_variables_that_hold_too_much_are_refused_before_the_document_is_read(graph):
    error = await refused(graph, Wanted(query="{", variables={"list": [0] * 20_000}))
    assert error.stage is Stage.REQUEST
    assert "more than 10000 values" in str(error)


async def test_a_document_nested_deeper_than_the_parser_goes_is_refused(graph):
    error = await refused(graph, Wanted(query="{ a" * 300 + "}" * 300))
    assert error.stage is Stage.DOCUMENT


async def test_a_huge_string_is_refused_and_a_large_one_taken(graph):
    query = 'mutation {{ add(draft: {{title: "{}"}}) {{ id }} }}'
    await graph.prepare(Wanted(query=query.format("x" * 14_000)))
    assert "characters" in str(await refused(graph, Wanted(query=query.format("x" * 1_000_000))))


async def test_shapes_are_shared_by_what_differs_in_literals_alone(graph):
    async def shape(query):
        return (await graph.prepare(Wanted(query=query))).operation.shape

    one = await shape('query Find { book(id: "secret-1") { id } }')
    assert one == await shape('query Find {\n  # a comment\n  book(id: "secret-2") { id }\n}')
    assert one != await shape('query Find { book(id: "secret-1") { title } }')
    assert "secret" not in one.text
    assert await shape('mutation { add(draft: {title: "a", tags: ["a"]}) { id } }') == await shape(
        'mutation { add(draft: {title: "a", tags: ["a", "b", "c"]}) { id } }'
    )
