"""Hostile requests, one after another: each is refused or answered, and others keep the loop."""

import asyncio
import time

import pytest
from graphql import get_introspection_query

from citadel_edge.graph.answers import Refused
from citadel_edge.graph.wanted import Wanted

FRAGMENTS = get_introspection_query()[get_introspection_query().index("fragment") :]
REFUSED = {
    "one field with 150 different arguments": "{" + " ".join(f"book(id:{n}){{id}}" for n in range(150)) + "}",
    "one name 900 times": "{" + "b " * 900 + "}",
    "inline fragments over the length": "{" + "...on Query{slow}" * 1_300 + "}",
    "nested to the parser's end": "{ a" * 190 + "}" * 190,
    "nested beyond the parser's end": "{ a" * 330 + "}" * 330,
    "a list nested beyond the parser's end": "{ book(id: " + "[" * 400 + "]" * 400 + ") { id } }",
    "fragments in a circle": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...c ...a } "
    "fragment c on Query { ...a }",
    "an object of many unknown keys": "mutation { add(draft: {"
    + " ".join(f't{n}: ""' for n in range(300))
    + "}) { id } }",
    "many unknown fields": "{" + " ".join(f"f{n}" for n in range(950)) + "}",
    "the schema under many names": "{"
    + " ".join(f"s{n}: __schema {{ types {{ ...FullType }} }}" for n in range(15))
    + "}"
    + FRAGMENTS,
    "fields of the schema's fields, under many names": "{ __schema { types {"
    + " ".join(f"f{n}: fields {{ type {{ ...t }} }}" for n in range(5))
    + "} } } fragment t on __Type {"
    + " ".join(f"f{n}: fields {{ name description type {{ kind name }} }}" for n in range(5))
    + "}",
    "many tokens": "{ slow " + "# \n" * 100 + "a " * 1_000 + "}",
    "a huge string": '{ book(id: "' + "x" * 1_000_000 + '") { id } }',
    "a huge name": "{ " + "x" * 14_000 + " }",
}
DEAR = (
    "query ($on: Boolean = true) { book(id: 1) { ...a } } "
    "fragment a on Book { x: related { ...b } y: related { ...b } z: related { ...b } }"
    "fragment b on Book { x: related { ...c } y: related { ...c } z: related { ...c } }"
    "fragment c on Book { x: related { ...d } y: related { ...d } z: related { ...d } }"
    "fragment d on Book { x: related { id @include(if: $on) } y: related { id } z: related { title } }"
)


async def longest_silence(work):
    """How many seconds this process worked at most, on all its threads, before others had the loop again."""
    silences = [0.0]

    async def look():
        while True:
            began = time.process_time()
            await asyncio.sleep(0.0005)
            silences.append(time.process_time() - began)

    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        await asyncio.sleep(0)
        await work
        looking.cancel()
    return max(silences)


async def attack(graph, query):
    """Fifty times, each a little different, so that nothing is remembered."""
    for number in range(50):
        with pytest.raises(Refused):
            await graph.prepare(Wanted(query=query + " " * number), cost_limit=5_000)


@pytest.mark.usefixtures("full_speed", "collecting_as_the_process_does")
@pytest.mark.parametrize("query", REFUSED.values(), ids=REFUSED)
async def test_fifty_attacks_in_a_row_leave_the_loop_to_others(graph, query):
    silence = await longest_silence(attack(graph, query))
    assert silence < 0.1  # 5 to 20 ms on a quiet machine


async def test_a_bomb_of_fragments_is_refused_for_its_price(graph):
    with pytest.raises(Refused, match="more than the 5000"):
        await graph.prepare(Wanted(query=DEAR), cost_limit=5_000)


async def test_a_bad_document_sent_again_costs_nothing(graph):
    query = REFUSED["an object of many unknown keys"]
    wanted = Wanted(query=query)
    with pytest.raises(Refused):
        await graph.prepare(wanted)
    began = time.process_time()
    for _ in range(1_000):
        with pytest.raises(Refused):
            await graph.prepare(wanted)
    assert time.process_time() - began < 1.0
    assert graph.documents.tally.read == 1
