"""Completions of streaming-api, read by clients that others wrote: one text for all, and no break looks whole."""

import asyncio

import pytest

from citadel_edge.listeners.common import sse
from citadel_edge.listeners.streaming.dialects import HEADER, Dialect
from citadel_edge.simulator.faults import Fault, FaultKind
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from clients.readers import READERS, REQUEST, said

pytestmark = pytest.mark.usefixtures("full_speed")
SLOW = SimulatorOptions(timing=Timing(first_token_ms=150, decode_ms=4))
MANY = 20  # heartbeats
BROKEN = SimulatorOptions(faults=(Fault(kind=FaultKind.ERROR_EVENT, after_tokens=9),))


@pytest.fixture(params=READERS)
def readers(request):
    """Asks for one chat through each client that runs in Python, or in Node: what they heard, by their names."""
    node = request.getfixturevalue("node") if request.param == "node" else None

    async def ask(served, wanted=REQUEST, **headers):
        reads = READERS[request.param]
        heard = await asyncio.gather(*(read(served, node, wanted, headers) for read in reads))
        return {read.__name__: each for read, each in zip(reads, heard, strict=True)}

    return ask


async def test_each_sees_the_same_text_and_usage_if_it_asked_for_it(edge_with, readers):
    async with edge_with(options=(SLOW,)) as served:
        text = await said(served)
        plain = await readers(served)
        counted = await readers(served, {**REQUEST, "stream_options": {"include_usage": True}})
    for heard in (plain, counted):
        assert {name: each.text for name, each in heard.items()} == dict.fromkeys(heard, text)
        assert {(each.done, each.error) for each in heard.values()} == {(True, None)}
    assert {each.usage for each in plain.values()} == {None}
    assert {dict(each.usage)["completion_tokens"] for each in counted.values()} == {REQUEST["max_tokens"]}


async def test_each_tells_a_broken_answer_from_a_finished_one(edge_with, readers):
    async with edge_with(options=(BROKEN,)) as served:
        heard = await readers(served)
    for each in heard.values():
        assert each.text
        assert not each.done
        assert each.error["code"]
        assert each.error["message"]


async def test_heartbeats_before_and_between_tokens_harm_no_client(edge_with, readers, monkeypatch):
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.002)
    async with edge_with(options=(SLOW,)) as served:
        text = await said(served)
        plain, resumable = [await readers(served, **{HEADER: dialect}) for dialect in Dialect]
    for heard in (plain, resumable):
        assert {name: (each.text, each.done) for name, each in heard.items()} == dict.fromkeys(heard, (text, True))
        assert all(each.heartbeats is None or each.heartbeats > MANY for each in heard.values())
    assert [each.ids for each in plain.values()] == [[]] * len(plain)
    for each in resumable.values():
        assert each.numbers == [*range(1, len(each.names) + 1)]
