"""Operations run to their end, in every kind: what comes out, what is masked, and what ends with them."""

import asyncio
from contextlib import aclosing

import msgspec
import pytest
from graphql import OperationType

from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.answers import Refused, Stage
from citadel_edge.graph.compiled.operation import compile_operation
from citadel_edge.graph.compiling import WORTH_IT
from citadel_edge.graph.context import Spent
from citadel_edge.graph.masking import SENTENCE
from citadel_edge.graph.settings import GraphSettings
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


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_a_query_is_answered_with_its_data(graph, reader):
    answer = await ask(graph, reader, "query ($id: ID!) { book(id: $id) { title } }", variables={"id": "7"})
    assert (answer.status, answer.data, answer.errors) == (200, {"book": {"title": "Book 7"}}, [])
    assert msgspec.json.decode(answer.encoded()) == {
        "data": {"book": {"title": "Book 7"}},
        "extensions": {"cost": {"requested": 3, "actual": 3, "limit": None}},
    }


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
    assert parts[0]["extensions"]["cost"]["requested"] == 2 + 1 + 3 * 3
    assert [part["hasNext"] for part in parts][-1] is False
    assert parts[-1]["extensions"] == parts[0]["extensions"]
    later = [each for part in parts[1:] for each in part.get("incremental", ())]
    assert {"name": "top"} in [each.get("data") for each in later]
    assert sum(len(each.get("items", ())) for each in later) == 3


async def test_what_may_come_in_parts_comes_whole_by_run(graph, reader):
    answer = await ask(graph, reader, "{ shelf(first: 1) { ... @defer { name } books @stream { id } } }")
    assert answer.data == {"shelf": {"books": [{"id": "b0"}], "name": "top"}}


async def test_what_is_prepared_says_whether_it_may_come_in_parts(graph):
    async def incremental(query):
        return (await graph.prepare(Wanted(query=query))).incremental

    assert await incremental("{ shelf(first: 1) { ... @defer { name } } }")
    assert await incremental("query ($on: Boolean!) { shelf(first: 1) { books @stream(if: $on) { id } } }")
    assert not await incremental("{ shelf(first: 1) { ... @defer(if: false) { name } } }")
    assert not await incremental("{ shelf(first: 1) { name } }")


async def test_an_operation_that_defers_nothing_comes_in_one_part(graph, reader):
    (only,) = await parts_of(graph, reader, "{ shelf(first: 1) { name } }")
    assert (only["data"], only["hasNext"]) == ({"shelf": {"name": "top"}}, False)


@pytest.mark.parametrize("variables", [{}, {"id": None}, {"id": {"no": "id"}}])
async def test_variables_of_no_use_are_refused_without_data(graph, reader, variables):
    answer = await ask(graph, reader, "query ($id: ID!) { book(id: $id) { title } }", variables=variables)
    assert answer.status == 400
    assert "data" not in answer.payload()
    assert answer.errors[0]["extensions"]["code"] == "invalid_request"


@pytest.mark.parametrize("field", ["broken", "leaking", "strict { never }"])
async def test_what_nobody_foresaw_is_masked_and_logged(graph, reader, log_output, field):
    answer = await ask(graph, reader, f"{{ {field} }}")
    (error,) = answer.errors
    assert error["message"] == SENTENCE
    assert error["extensions"] == {"code": "internal", "request_id": "req-1"}
    assert error["path"][0] == field.split()[0]
    assert b"hunter2" not in answer.encoded()
    (line,) = log_output.entries
    assert line["request_id"] == "req-1"
    assert isinstance(line["exc_info"], Exception)


async def test_of_many_errors_in_one_answer_a_few_are_logged(graph, reader, log_output):
    answer = await ask(graph, reader, "{" + " ".join(f"a{number}: broken" for number in range(15)) + "}")
    assert [error["message"] for error in answer.errors] == [SENTENCE] * 15
    assert [(line["path"], line["more"]) for line in log_output.entries] == [("a0", 0), ("a1", 0), ("a2", 12)]


async def test_what_was_said_on_purpose_is_told(graph, reader, log_output):
    answer = await ask(graph, reader, "{ refusedField said }")
    refused, said = answer.errors
    assert refused["message"] == "there is no such model"
    assert refused["extensions"] == {"code": "model_not_found", "request_id": "req-1", "param": "model"}
    assert (said["message"], said["extensions"]) == ("you may not", {"code": "forbidden", "request_id": "req-1"})
    assert answer.data == {"refusedField": None, "said": None}
    assert log_output.entries == []


async def test_the_door_translates_exceptions_of_its_own(graph_with, reader, log_output):
    def told(error):
        return RequestError(Code.OVERLOADED, "come again", retry_after_s=2) if isinstance(error, ValueError) else None

    answer = await ask(graph_with(told=told), reader, "{ broken }")
    assert answer.errors[0]["message"] == "come again"
    assert answer.errors[0]["extensions"] == {"code": "overloaded", "request_id": "req-1", "retry_after_s": 2}
    assert log_output.entries == []


async def test_an_argument_of_no_use_is_told_in_the_clients_words(graph, reader):
    query = "query ($to: Int) { books(first: $to) { title } }"
    answer = await ask(graph, reader, query, variables={"to": "many"})
    assert "many" in answer.errors[0]["message"]


async def test_errors_of_deferred_parts_are_masked(graph, reader):
    parts = await parts_of(graph, reader, "{ ... @defer { broken } strict { ... @defer { never } } }")
    errors = [error for part in parts for each in part.get("incremental", ()) for error in each.get("errors", ())]
    errors += [error for part in parts for each in part.get("completed", ()) for error in each.get("errors", ())]
    assert [error["message"] for error in errors] == [SENTENCE, SENTENCE]


async def test_a_source_that_breaks_ends_the_subscription_with_a_masked_error(graph, reader, log_output):
    event, end = await listen(graph, reader, "subscription { brokenTicks }")
    assert (event.status, event.data) == (200, {"brokenTicks": 1})
    assert (end.status, end.errors[0]["message"]) == (500, SENTENCE)
    assert len(log_output.entries) == 1


async def test_a_source_that_cannot_be_had_is_a_refusal(graph, reader):
    (only,) = await listen(graph, reader, "subscription { forbidden }")
    assert (only.status, only.errors[0]["message"]) == (400, "not for you")
    assert "data" not in only.payload()


async def test_resolvers_are_cancelled_when_the_client_leaves(graph, reader):
    prepared = await graph.prepare(Wanted(query="{ a: slow b: slow c: book(id: 1) { slow } }"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(graph.run(prepared, reader))
        await until(lambda: reader.noticed.count("began") == 3)
        running.cancel()
    assert reader.noticed.count("cancelled") == 3


async def test_a_siblings_error_leaves_no_resolver_behind(graph, reader):
    answer = await ask(graph, reader, "{ strict { slow never } }")
    assert answer.data == {"strict": None}
    await until(lambda: "cancelled" in reader.noticed or "began" not in reader.noticed)


async def test_a_source_is_closed_when_the_client_leaves_while_it_is_silent(graph, reader):
    prepared = await graph.prepare(Wanted(query="subscription { silent }"))

    async def hear():
        async with aclosing(graph.subscribe(prepared, reader)) as answers:
            async for _ in answers:
                pytest.fail("it is silent")

    async with asyncio.TaskGroup() as group:
        hearing = group.create_task(hear())
        await until(lambda: "began" in reader.noticed)
        hearing.cancel()
    assert reader.noticed == ["began", "closed"]


async def test_a_source_is_closed_when_the_iterator_is(graph, reader):
    prepared = await graph.prepare(Wanted(query="subscription { ticks(to: 1000000) }"))
    async with aclosing(graph.subscribe(prepared, reader)) as answers:
        assert (await anext(answers)).data == {"ticks": 0}
    assert reader.noticed == ["closed"]


async def test_deferred_work_is_cancelled_when_the_client_leaves(graph, reader):
    prepared = await graph.prepare(Wanted(query="{ said ... @defer { slow } }"))
    async with aclosing(graph.run_incrementally(prepared, reader)) as parts:
        assert (await anext(parts))["hasNext"] is True
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(anext(parts))
            await until(lambda: "began" in reader.noticed)
            waiting.cancel()
    assert reader.noticed == ["began", "cancelled"]


async def test_a_streamed_source_is_closed_when_the_client_leaves(graph, reader):
    prepared = await graph.prepare(Wanted(query="{ endless @stream(initialCount: 1) }"))
    async with aclosing(graph.run_incrementally(prepared, reader)) as parts:
        assert (await anext(parts))["data"] == {"endless": [0]}
    assert reader.noticed == ["closed"]


@pytest.mark.parametrize(
    ("query", "status"), [("{ slow }", 504), ('mutation { wait(draft: {title: "x"}) }', 504)], ids=["query", "mutation"]
)
async def test_what_takes_too_long_is_cancelled_and_says_so(graph_with, reader, query, status):
    graph = graph_with(settings=GraphSettings(query_timeout_s=0.01, mutation_timeout_s=0.01))
    answer = await ask(graph, reader, query)
    assert answer.status == status
    assert answer.errors[0]["extensions"]["code"] == "deadline_exceeded"
    assert reader.noticed == ["began", "cancelled"]


async def test_a_deferred_part_that_takes_too_long_ends_the_answer(graph_with, reader):
    parts = await parts_of(
        graph_with(settings=GraphSettings(query_timeout_s=0.05)), reader, "{ said ... @defer { slow } }"
    )
    assert [part["hasNext"] for part in parts] == [True, False]
    assert parts[1]["errors"][0]["extensions"]["code"] == "deadline_exceeded"
    assert reader.noticed == ["began", "cancelled"]


async def test_a_source_that_does_not_come_in_time_is_given_up(graph_with, reader):
    graph = graph_with(settings=GraphSettings(event_timeout_s=0.01))
    (only,) = await listen(graph, reader, "subscription { late }")
    assert only.status == 504
    assert reader.noticed == ["began", "cancelled"]


async def test_a_subscription_may_be_silent_for_longer_than_its_events_may_take(graph_with, reader):
    graph = graph_with(settings=GraphSettings(event_timeout_s=0.02))
    prepared = await graph.prepare(Wanted(query="subscription { silent }"))
    async with aclosing(graph.subscribe(prepared, reader)) as answers:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(answers)


async def test_what_resolvers_spend_is_told_with_the_cost(graph, reader):
    prepared = await graph.prepare(Wanted(query="{ chat }"), cost_limit=50)
    answer = await graph.run(prepared, reader)
    tokens = {"requested": 10, "actual": 7, "tokensIn": 3, "tokensOut": 4, "usd": 0.25}
    assert answer.extensions == {"cost": {"requested": 11, "actual": 8, "limit": 50, "tokens": tokens}}
    assert next(iter(graph.patterns.top(1))).cost == 8


@pytest.mark.parametrize("compiler", [None, compile_operation], ids=["core", "compiled"])
async def test_what_was_answered_is_counted_and_not_what_might_have_been(graph_with, reader, compiler):
    graph = graph_with(compiler=compiler)
    query = "query Few ($id: ID!) { book(id: $id) { all: related { ...named } } } fragment named on Book { id title }"
    for _ in range(WORTH_IT + 1):
        reader.spent = Spent()
        cost = (await ask(graph, reader, query, variables={"id": "1"})).extensions["cost"]
        assert (cost["requested"], cost["actual"]) == (2 + 5 * (2 + 2), 2 + 2 * (2 + 2))
        await until(lambda: not graph.compiling.waiting)
    assert graph.compiling.compiled == (compiler is not None)
    assert next(iter(graph.patterns.top(1))).cost == (WORTH_IT + 1) * 10


async def test_every_run_is_counted(graph, reader):
    for _ in range(3):
        await ask(graph, reader, 'query Find { book(id: "1") { id } }')
    await ask(graph, reader, 'query Find { book(id: "2") { id } }')
    await ask(graph, reader, "query Bad { broken }")
    await listen(graph, reader, "subscription Ticks { ticks(to: 2) }")
    rows = {row.name: (row.kind, row.count, row.errors, row.cost) for row in graph.patterns.top(10)}
    assert rows == {
        "Find": ("query", 4, 0, 12),
        "Bad": ("query", 1, 1, 1),
        "Ticks": ("subscription", 1, 0, 1),
    }
