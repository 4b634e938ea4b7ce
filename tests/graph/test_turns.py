"""A long list is completed in turns: others have the loop in between, and nothing is left of one cut short."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest
from graphql import build_schema

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


async def ask(graph, query):
    return await graph.run(await graph.prepare(Wanted(query=query)), Onlooker())


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
