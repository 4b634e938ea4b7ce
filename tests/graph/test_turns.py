"""A long list is completed in turns: others have the loop in between, and nothing is left of one cut short."""

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from functools import partial

import pytest
from graphql import build_schema

from citadel_edge.graph.compiled.operation import COMBINATIONS, compile_operation
from citadel_edge.graph.compiled.pacing import Pace
from citadel_edge.graph.context import Spent
from citadel_edge.graph.executing import Execution
from citadel_edge.graph.running import Graph
from citadel_edge.graph.turns import TURN_S
from citadel_edge.graph.wanted import Wanted
from citadel_edge.telemetry.clock import Clock

SCHEMA = """
type Query { rows: [Row!]!, pairs: [[Int!]!]!, holes: [Row], broken: [Row!], waits: [Row!]! }
type Row { id: Int!, name: String, slow: Int, bad: Int!, rows: [Row!]! }
"""


@dataclass(slots=True)
class Onlooker:
    request_id: str = "req-1"
    spent: Spent = field(default_factory=Spent)


async def _slow(row, _):
    await asyncio.sleep(0)
    return row["id"]


async def _later(row):
    await asyncio.sleep(0)
    return row


def rows(count):
    return [{"id": number, "name": str(number)} for number in range(count)]


@pytest.fixture(scope="module")
def long_schema():
    schema = build_schema(SCHEMA)
    resolvers = {
        "Query": {
            "rows": lambda *_: rows(1000),
            "pairs": lambda *_: [[n, n + 1] for n in range(1000)],
            "holes": lambda *_: [None if n % 2 else {"id": n} for n in range(1000)],
            "broken": lambda *_: [*rows(700), ValueError("the password is hunter2"), *rows(10)],
            "waits": lambda *_: [_later(row) for row in rows(300)],
        },
        "Row": {"slow": _slow, "rows": lambda *_: rows(60)},
    }
    for name, fields in resolvers.items():
        for field_name, resolve in fields.items():
            schema.get_type(name).fields[field_name].resolve = resolve
    return schema


@pytest.fixture
def long_graph(long_schema, log):
    graph = Graph(long_schema, clock=Clock(), log=log)
    yield graph
    graph.close()


async def ask(graph, query, variables=None):
    return await graph.run(await graph.prepare(Wanted(query=query, variables=variables)), Onlooker())


async def turns_while(work):
    """How often others had the loop while `work` went on."""
    turns = 0

    async def look():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        await asyncio.sleep(0)
        answer = await work
        looking.cancel()
    return answer, turns


@pytest.mark.usefixtures("full_speed")
@pytest.mark.parametrize("query", ["{ rows { id name } }", "{ pairs }", "{ a: rows { id } b: rows { name } }"])
async def test_others_have_the_loop_every_few_milliseconds(long_graph, query):
    began = time.perf_counter()
    answer, turns = await turns_while(ask(long_graph, query))
    seconds = time.perf_counter() - began
    assert answer.errors == []
    assert turns >= seconds / TURN_S / 10
    assert turns >= 3


@pytest.mark.usefixtures("full_speed")
async def test_lists_in_lists_have_one_turn_together(long_graph):
    answer, turns = await turns_while(ask(long_graph, "{ rows { rows { id } } }"))
    assert [len(row["rows"]) for row in answer.data["rows"]] == [60] * 1000
    assert turns > 20


@pytest.mark.usefixtures("full_speed")
async def test_a_compiled_operation_keeps_to_turns_with_more_combinations_than_are_compiled(long_schema, log):
    """Five conditions are 32 combinations: those beyond the compiled ones are graphql-core's, in turns."""
    graph = Graph(long_schema, clock=Clock(), log=log, compiler=partial(compile_operation, pace=Pace(lambda: 0.0)))
    names = "abcde"
    fields = " ".join(f"{name}: id @include(if: ${name})" for name in names)
    query = f"query ({' '.join(f'${name}: Boolean!' for name in names)}) {{ rows {{ {fields} name }} }}"
    chosen = [dict(zip(names, each, strict=True)) for each in itertools.product([True, False], repeat=5)]
    try:
        for variables in [chosen[0]] * 3 + chosen[1:COMBINATIONS]:
            await ask(graph, query, variables)
            async with asyncio.timeout(10):
                while graph.compiling.waiting:
                    await asyncio.sleep(0.001)
        _, compiled_turns = await turns_while(ask(graph, query, chosen[0]))
        answer, turns = await turns_while(ask(graph, query, chosen[-2]))
    finally:
        graph.close()
    assert answer.data["rows"][999] == {"e": 999, "name": "999"}
    assert turns >= 3 > compiled_turns


async def test_a_long_list_is_complete_and_in_order(long_graph):
    answer = await ask(long_graph, "{ rows { id } holes { id } waits { id slow } }")
    assert [row["id"] for row in answer.data["rows"]] == list(range(1000))
    assert answer.data["holes"][:3] == [{"id": 0}, None, {"id": 2}]
    assert answer.data["waits"] == [{"id": number, "slow": number} for number in range(300)]


async def test_an_error_late_in_a_list_makes_it_null_at_its_place(long_graph):
    answer = await ask(long_graph, "{ broken { id slow } }")
    assert answer.data == {"broken": None}
    assert answer.errors[0]["path"] == ["broken", 700]


async def test_a_list_cut_short_leaves_nothing_behind(long_graph):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ask(long_graph, "{ rows { slow rows { id slow } } waits { slow } }"))
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()


def test_a_short_list_needs_no_loop(long_schema, log):
    async def built():
        graph = Graph(long_schema, clock=_Stopped(), log=log)
        prepared = await graph.prepare(Wanted(query="{ pairs }"))
        return Execution.build(
            long_schema, prepared.operation, variables={}, context=Onlooker(), clock=_Stopped()
        ).executor.execute_operation()

    assert len(asyncio.run(built()).data["pairs"]) == 1000


class _Stopped(Clock):
    """A clock in whose time everything is quick."""

    def monotonic_s(self):
        return 0.0
