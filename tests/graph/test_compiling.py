"""What is run often is compiled, once; what a compiler refuses or breaks at goes to graphql-core."""

import asyncio
import threading
from contextlib import aclosing

import pytest
from graphql import ExecutionResult, GraphQLError

from citadel_edge.graph.settings import GraphSettings
from citadel_edge.graph.wanted import Wanted

FIND = "query Find { book(id: 1) { title } }"


class Function:
    """A compiled operation that says what it was given."""

    def __init__(self, result):
        self.result = result
        self.given = []

    def run(self, root, context, variables):
        self.given.append((root, context.request_id, variables))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result() if callable(self.result) else self.result


class Compiler:
    def __init__(self, made):
        self.made = made
        self.asked = []

    def __call__(self, schema, document, operation):
        self.asked.append((schema, document, operation))
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


async def ask(graph, reader, query=FIND, **more):
    return await graph.run(await graph.prepare(Wanted(query=query, **more)), reader)


async def test_the_third_run_is_compiled_and_no_later_one_compiles_again(graph_with, reader, schema):
    function = Function(ExecutionResult({"book": "compiled"}))
    compiler = Compiler(function)
    graph = graph_with(compiler=compiler)
    answers = [(await ask(graph, reader)).data["book"] for _ in range(5)]
    assert answers == [{"title": "Book 1"}] * 2 + ["compiled"] * 3
    ((given_schema, document, operation),) = compiler.asked
    assert given_schema is schema
    assert operation in document.definitions
    assert (graph.compiling.compiled, graph.compiling.refused) == (1, 0)


async def test_a_long_operation_is_compiled_beside_the_loop(graph_with, reader):
    threads = []

    def compiler(*_):
        threads.append(threading.current_thread())
        return Function(ExecutionResult({"book": "compiled"}))

    graph = graph_with(compiler=compiler)
    async with asyncio.timeout(10):
        while (await ask(graph, reader, FIND + " " * 1_000)).data["book"] != "compiled":
            await asyncio.sleep(0.001)
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_a_compiled_operation_gets_its_variables_and_may_be_awaited(graph_with, reader):
    async def later():
        return ExecutionResult({"late": True})

    function = Function(later)
    graph = graph_with(compiler=Compiler(function))
    query = "query ($id: ID!) { book(id: $id) { id } }"
    answers = [await ask(graph, reader, query, variables={"id": "9"}) for _ in range(3)]
    assert answers[2].data == {"late": True}
    assert function.given == [(None, "req-1", {"id": "9"})]


async def test_errors_of_compiled_operations_are_masked_alike(graph_with, reader):
    located = GraphQLError("inner", path=["book"], original_error=ValueError("the password is hunter2"))
    graph = graph_with(compiler=Compiler(Function(ExecutionResult({"book": None}, [located]))))
    answers = [await ask(graph, reader) for _ in range(3)]
    assert answers[2].errors[0]["extensions"]["code"] == "internal"
    assert b"hunter2" not in answers[2].encoded()


async def test_values_of_no_use_are_refused_alike(graph_with, reader):
    graph = graph_with(compiler=Compiler(Function(ExecutionResult(None, [GraphQLError("no such value")]))))
    answers = [await ask(graph, reader) for _ in range(3)]
    assert (answers[2].status, "data" in answers[2].payload()) == (400, False)


@pytest.mark.parametrize("made", [None, ValueError("a fault of the compiler's")])
async def test_what_a_compiler_refuses_or_breaks_at_is_run_by_graphql_core(graph_with, reader, log_output, made):
    compiler = Compiler(made)
    graph = graph_with(compiler=compiler)
    for query in (FIND, "{ said }"):
        for _ in range(5):
            await ask(graph, reader, query)
    assert (await ask(graph, reader)).data == {"book": {"title": "Book 1"}}
    assert len(compiler.asked) == 2
    assert graph.compiling.refused == 2
    assert len(log_output.entries) == (0 if made is None else 1)


async def test_a_compiled_query_that_breaks_is_answered_by_graphql_core_from_then_on(graph_with, reader, log_output):
    function = Function(RuntimeError("a fault of the compiler's"))
    graph = graph_with(compiler=Compiler(function))
    answers = [(await ask(graph, reader)).data for _ in range(6)]
    assert answers == [{"book": {"title": "Book 1"}}] * 6
    assert len(function.given) == 1
    assert len(log_output.entries) == 1


async def test_a_compiled_mutation_that_breaks_is_not_run_twice(graph_with, reader):
    graph = graph_with(compiler=Compiler(Function(RuntimeError("a fault of the compiler's"))))
    query = 'mutation { add(draft: {title: "x"}) { id } }'
    for _ in range(2):
        await ask(graph, reader, query)
    with pytest.raises(RuntimeError):
        await ask(graph, reader, query)


async def test_a_compiled_operation_that_takes_too_long_is_cancelled(graph_with, reader):
    async def slow():
        try:
            await asyncio.sleep(30)
        finally:
            reader.noticed.append("cancelled")

    graph = graph_with(compiler=Compiler(Function(slow)), settings=GraphSettings(query_timeout_s=0.01))
    answers = [await ask(graph, reader) for _ in range(3)]
    assert answers[2].status == 504
    assert reader.noticed == ["cancelled"]


async def test_events_of_a_compiled_subscription_are_its_roots(graph_with, reader):
    function = Function(ExecutionResult({"ticks": "compiled"}))
    graph = graph_with(compiler=Compiler(function))
    heard = []
    for _ in range(3):
        prepared = await graph.prepare(Wanted(query="subscription ($to: Int!) { ticks(to: $to) }", variables={"to": 2}))
        async with aclosing(graph.subscribe(prepared, reader)) as answers:
            heard += [answer.data["ticks"] async for answer in answers]
    assert heard == [0, 1, 0, 1, "compiled", "compiled"]
    assert [root for root, _, _ in function.given] == [{"ticks": 0}, {"ticks": 1}]
    assert [variables.coerced for _, _, variables in function.given] == [{"to": 2}, {"to": 2}]
