"""What is run often is compiled, once; what a compiler refuses or breaks at goes to graphql-core."""

import asyncio
import threading
from contextlib import aclosing

import pytest
from graphql import ExecutionResult, GraphQLError

from citadel_edge.graph.bounds import MAX_COERCION_ERRORS
from citadel_edge.graph.compiled.operation import compile_operation
from citadel_edge.graph.compiling import MAX_WAITING
from citadel_edge.graph.lru import Lru, Room
from citadel_edge.graph.settings import GraphSettings
from citadel_edge.graph.wanted import Wanted

FIND = "query Find { book(id: 1) { title } }"


class Function:
    """A compiled operation that says what it was given."""

    def __init__(self, result):
        self.result = result
        self.given = []
        self.threads = set()
        self.before_writing = lambda: None

    def ready(self, _):
        return bool(self.threads)

    def write(self, _):
        self.before_writing()
        self.threads.add(threading.current_thread())
        return 1_000

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


async def warm(graph, reader, query=FIND, **more):
    """Ask until the operation is compiled, or is known not to be."""
    answers = [await ask(graph, reader, query, **more) for _ in range(3)]
    await written(graph)
    return answers


async def written(graph):
    async with asyncio.timeout(10):
        while graph.compiling.waiting:
            await asyncio.sleep(0.001)


async def test_what_ran_three_times_is_compiled_and_no_later_run_compiles_again(graph_with, reader, schema):
    function = Function(ExecutionResult({"book": "compiled"}))
    compiler = Compiler(function)
    graph = graph_with(compiler=compiler)
    answers = await warm(graph, reader) + [await ask(graph, reader) for _ in range(2)]
    assert [answer.data["book"] for answer in answers] == [{"title": "Book 1"}] * 3 + ["compiled"] * 2
    ((given_schema, document, operation),) = compiler.asked
    assert given_schema is schema
    assert operation in document.definitions
    assert (graph.compiling.compiled, graph.compiling.refused) == (1, 0)


async def test_functions_are_written_beside_the_loop_and_nobody_waits_for_them(graph_with, reader):
    may_go_on = threading.Event()
    function = Function(ExecutionResult({"book": "compiled"}))
    function.before_writing = lambda: may_go_on.wait(10)
    graph = graph_with(compiler=Compiler(function))
    try:
        answers = [await ask(graph, reader) for _ in range(9)]
        assert graph.compiling.waiting == 1
    finally:
        may_go_on.set()
    await written(graph)
    assert [answer.data["book"] for answer in answers] == [{"title": "Book 1"}] * 9
    assert (await ask(graph, reader)).data["book"] == "compiled"
    assert len(function.threads) == 1
    assert function.threads.isdisjoint({threading.current_thread()})


async def test_a_few_compilations_wait_at_most_and_the_others_are_asked_for_again(graph_with, reader):
    may_go_on = threading.Event()
    function = Function(ExecutionResult({"book": "compiled"}))
    function.before_writing = lambda: may_go_on.wait(10)
    graph = graph_with(compiler=Compiler(function))
    queries = [f"{{ book(id: {number}) {{ title }} }}" for number in range(MAX_WAITING + 3)]
    try:
        for query in queries * 3:
            await ask(graph, reader, query)
        assert graph.compiling.waiting == MAX_WAITING
    finally:
        may_go_on.set()
    await written(graph)
    for query in queries:
        await ask(graph, reader, query)
    await written(graph)
    assert graph.compiling.compiled == len(queries)


async def test_what_functions_hold_counts_as_their_documents(graph_with, reader):
    graph = graph_with(compiler=compile_operation)
    query = "query ($a: Boolean = true) { book(id: 1) { title @include(if: $a) id } }"
    await ask(graph, reader, query)
    read_bytes = graph.documents.held_bytes()
    await warm(graph, reader, query)
    written_bytes = graph.documents.held_bytes()
    assert written_bytes >= read_bytes + 10_000
    await warm(graph, reader, query)
    assert graph.documents.held_bytes() == written_bytes
    await ask(graph, reader, query, variables={"a": False})
    await written(graph)
    assert graph.documents.held_bytes() > written_bytes


async def test_functions_push_out_what_was_not_asked_for_longest(graph_with, reader):
    graph = graph_with(compiler=compile_operation)
    graph.documents._known = Lru(Room(100, 60_000))
    for number in range(6):
        await warm(graph, reader, f"{{ book(id: {number}) {{ title }} }}")
        assert graph.documents._known.bytes <= 60_000
    assert graph.compiling.compiled == 6
    assert 0 < len(graph.documents._known) < 6


async def test_as_many_wrong_variables_are_named_compiled_or_not(graph_with, reader):
    names = [f"v{number}" for number in range(MAX_COERCION_ERRORS + 5)]
    declared = ", ".join(f"${name}: String!" for name in names)
    asked = (
        f"mutation ({declared}) {{ add(draft: {{title: $v0, tags: [{' '.join(f'${n}' for n in names)}]}}) {{ id }} }}"
    )
    graph = graph_with(compiler=compile_operation)
    await warm(graph, reader, asked, variables=dict.fromkeys(names, "x"))
    assert graph.compiling.compiled == 1
    wrong = dict.fromkeys(names, 1)
    uncompiled = await ask(graph_with(), reader, asked, variables=wrong)
    assert len(uncompiled.errors) == MAX_COERCION_ERRORS + 1
    assert (await ask(graph, reader, asked, variables=wrong)).errors == uncompiled.errors


async def test_a_compiled_operation_gets_its_variables_and_may_be_awaited(graph_with, reader):
    async def later():
        return ExecutionResult({"late": True})

    function = Function(later)
    graph = graph_with(compiler=Compiler(function))
    query = "query ($id: ID!) { book(id: $id) { id } }"
    await warm(graph, reader, query, variables={"id": "9"})
    assert (await ask(graph, reader, query, variables={"id": "9"})).data == {"late": True}
    assert function.given == [(None, "req-1", {"id": "9"})]


async def test_errors_of_compiled_operations_are_masked_alike(graph_with, reader):
    located = GraphQLError("inner", path=["book"], original_error=ValueError("the password is hunter2"))
    graph = graph_with(compiler=Compiler(Function(ExecutionResult({"book": None}, [located]))))
    await warm(graph, reader)
    answer = await ask(graph, reader)
    assert answer.errors[0]["extensions"]["code"] == "internal"
    assert b"hunter2" not in answer.encoded()


async def test_values_of_no_use_are_refused_alike(graph_with, reader):
    graph = graph_with(compiler=Compiler(Function(ExecutionResult(None, [GraphQLError("no such value")]))))
    await warm(graph, reader)
    answer = await ask(graph, reader)
    assert (answer.status, "data" in answer.payload()) == (400, False)


@pytest.mark.parametrize("made", [None, ValueError("a fault of the compiler's")])
async def test_what_a_compiler_refuses_or_breaks_at_is_run_by_graphql_core(graph_with, reader, log_output, made):
    compiler = Compiler(made)
    graph = graph_with(compiler=compiler)
    for query in (FIND, "{ said }"):
        await warm(graph, reader, query)
        await warm(graph, reader, query)
    assert (await ask(graph, reader)).data == {"book": {"title": "Book 1"}}
    assert len(compiler.asked) == 2
    assert graph.compiling.refused == 2
    assert len(log_output.entries) == (0 if made is None else 1)


async def test_a_compiled_query_that_breaks_is_answered_by_graphql_core_from_then_on(graph_with, reader, log_output):
    function = Function(RuntimeError("a fault of the compiler's"))
    graph = graph_with(compiler=Compiler(function))
    answers = await warm(graph, reader) + await warm(graph, reader)
    assert [answer.data for answer in answers] == [{"book": {"title": "Book 1"}}] * 6
    assert len(function.given) == 1
    assert len(log_output.entries) == 1


async def test_a_compiled_mutation_that_breaks_is_not_run_twice(graph_with, reader):
    graph = graph_with(compiler=Compiler(Function(RuntimeError("a fault of the compiler's"))))
    query = 'mutation { add(draft: {title: "x"}) { id } }'
    await warm(graph, reader, query)
    with pytest.raises(RuntimeError):
        await ask(graph, reader, query)


async def test_a_compiled_operation_that_takes_too_long_is_cancelled(graph_with, reader):
    async def slow():
        try:
            await asyncio.sleep(30)
        finally:
            reader.noticed.append("cancelled")

    graph = graph_with(compiler=Compiler(Function(slow)), settings=GraphSettings(query_timeout_s=0.01))
    await warm(graph, reader)
    assert (await ask(graph, reader)).status == 504
    assert reader.noticed == ["cancelled"]


async def test_events_of_a_compiled_subscription_are_its_roots(graph_with, reader):
    function = Function(ExecutionResult({"ticks": "compiled"}))
    graph = graph_with(compiler=Compiler(function))
    heard = []
    for _ in range(4):
        await written(graph)
        prepared = await graph.prepare(Wanted(query="subscription ($to: Int!) { ticks(to: $to) }", variables={"to": 2}))
        async with aclosing(graph.subscribe(prepared, reader)) as answers:
            heard += [answer.data["ticks"] async for answer in answers]
    assert heard == [0, 1, 0, 1, 0, 1, "compiled", "compiled"]
    assert [root for root, _, _ in function.given] == [{"ticks": 0}, {"ticks": 1}]
    assert [variables.coerced for _, _, variables in function.given] == [{"to": 2}, {"to": 2}]
