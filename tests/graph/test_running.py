"""Operations run to their end, in every kind: what comes out, what is masked, and what ends with them."""

from contextlib import aclosing

import msgspec
import pytest
from graphql import OperationType

from citadel_edge.graph.answers import Refused, Stage
from citadel_edge.graph.wanted import Wanted


async def ask(graph, reader, query, **wanted):
    prepared = await graph.prepare(Wanted(query=query, **wanted))
    return await graph.run(prepared, reader)


async def listen(graph, reader, query):
    prepared = await graph.prepare(Wanted(query=query))
    async with aclosing(graph.subscribe(prepared, reader)) as answers:
        return [answer async for answer in answers]


async def parts_of(graph, reader, query):
    prepared = await graph.prepare(Wanted(query=query))
    async with aclosing(graph.run_incrementally(prepared, reader)) as parts:
        return [part async for part in parts]


async def test_a_query_is_answered_with_its_data(graph, reader):
    answer = await ask(graph, reader, "query ($id: ID!) { book(id: $id) { title } }", variables={"id": "7"})
    assert (answer.status, answer.data, answer.errors) == (200, {"book": {"title": "Book 7"}}, [])
    assert msgspec.json.decode(answer.encoded())["data"] == {"book": {"title": "Book 7"}}


async def test_a_mutation_is_run(graph, reader):
    answer = await ask(graph, reader, 'mutation { add(draft: {title: "New"}) { title } }')
    assert answer.data == {"add": {"title": "New"}}


async def test_a_kind_that_the_transport_does_not_take_is_refused(graph):
    with pytest.raises(Refused, match="cannot be sent this way") as refused:
        await graph.prepare(Wanted(query='mutation { add(draft: {title: "x"}) { id } }'), allowed={OperationType.QUERY})
    assert (refused.value.status, refused.value.stage) == (405, Stage.OPERATION)


async def test_a_subscription_answers_each_event(graph, reader):
    answers = await listen(graph, reader, "subscription { ticks(to: 3) }")
    assert [answer.data for answer in answers] == [{"ticks": 0}, {"ticks": 1}, {"ticks": 2}]
    assert reader.noticed == ["closed"]


async def test_deferred_and_streamed_parts_come_later(graph, reader):
    parts = await parts_of(graph, reader, "{ shelf(first: 3) { ... @defer { name } books @stream { id } } }")
    assert parts[0]["data"] == {"shelf": {"books": []}}
    assert [part["hasNext"] for part in parts][-1] is False
    later = [each for part in parts[1:] for each in part.get("incremental", ())]
    assert {"name": "top"} in [each.get("data") for each in later]
    assert sum(len(each.get("items", ())) for each in later) == 3


async def test_what_may_come_in_parts_comes_whole_by_run(graph, reader):
    answer = await ask(graph, reader, "{ shelf(first: 1) { ... @defer { name } books @stream { id } } }")
    assert answer.data == {"shelf": {"books": [{"id": "b0"}], "name": "top"}}
