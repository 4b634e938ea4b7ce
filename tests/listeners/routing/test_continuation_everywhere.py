"""An answer that broke off goes on elsewhere, and its client cannot tell: at every token, by every fault."""

import asyncio
from itertools import product

import pytest

from citadel_edge.config.shape import ListenerName, RoutingConfig, TimeoutsConfig
from citadel_edge.simulator.faults import Fault, FaultBook, FaultKind, Match
from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.timing import Timing
from conversations import LEGACY, ask, decision, idle, said, settled, stream

ROUTING, STREAMING = ListenerName.ROUTING, ListenerName.STREAMING

LENGTH = 40
USAGE = {"stream_options": {"include_usage": True}}
QUICK = RoutingConfig(probe_interval_s=0.05)
GONE_S = 0.02  # how long a killed replica is away: its streams are reset all the same
SOME = (0, 1, 2, 7, 13, 20, 31, LENGTH - 1, LENGTH)
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def replica(engine, **changes):
    """Replicas of one voice say the same, whatever engine they are; slowly enough for each token to travel alone."""
    fields = {"seed": 11, "voice": "one", "shortest": LENGTH, "longest": LENGTH, "timing": Timing(decode_ms=2)}
    return SimulatorOptions(engine=Engine(engine), **{**fields, **changes})


@pytest.fixture
def pair(edge_with):
    """`async with pair("vllm", "sglang") as (served, book)`: two replicas that share a book of faults."""

    class Pair:
        def __init__(self, *engines, routing=QUICK, **changes):
            self.book = FaultBook(seed=0)
            options = tuple(replica(engine, **changes) for engine in engines)
            self.context = edge_with(options=options, faults=self.book, changes={"routing": routing})

        async def __aenter__(self):
            return await self.context.__aenter__(), self.book

        async def __aexit__(self, *error):
            return await self.context.__aexit__(*error)

    return Pair


def counts(heard):
    (usage,) = heard.usages
    return {name: usage[name] for name in COUNTS}


async def broken(served, book, fault, **more):
    """One stream whose first replica is struck by the fault."""
    book.add(fault)
    heard = await asyncio.wait_for(stream(served, served.chat(**USAGE), **more), 30)
    (entry,) = book.entries()
    assert entry["struck"] == 1, "the fault must have happened for the test to mean something"
    book.clear()
    await settled(served)
    return heard


async def check_every(served, book, positions, *, listener=ROUTING):
    """Kill the speaker before each of these tokens: the client's text is the uninterrupted one, byte for byte."""
    expected = await stream(served, served.chat(**USAGE), listener=listener)
    assert expected.whole
    assert len(expected.pieces) == LENGTH
    await settled(served)
    known = len(await served.rows())
    for position in positions:
        fault = Fault(kind=FaultKind.UNREACHABLE, after_tokens=position, duration_s=GONE_S, times=1)
        heard = await broken(served, book, fault, listener=listener)
        assert heard.whole, (position, heard.data[-2:])
        assert heard.text == expected.text, position
        assert heard.finishes == expected.finishes, position
        assert counts(heard) == counts(expected), position
        assert len({event["id"] for event in heard.events}) == 1, position
    rows = (await served.rows())[known:]
    assert len(rows) == len(positions)
    assert {(row["outcome"], row["attempts"]) for row in rows} == {("done", 2)}
    usage = counts(expected)
    assert {(row["tokens_in"], row["tokens_out"]) for row in rows} == {
        (usage["prompt_tokens"], usage["completion_tokens"])
    }
    assert continuations(served) >= 0.8 * sum(position > 1 for position in positions), "they were not just made again"


def continuations(served):
    """Calls that brought a started answer along."""
    bodies = [record.body for sim in served.simulators for record in sim.stats.records]
    return sum(body["messages"][-1]["role"] == "assistant" for body in bodies if "messages" in body)


EVERY = range(LENGTH + 1)


@pytest.mark.parametrize(
    ("engine", "positions"),
    [("vllm", EVERY), ("sglang", EVERY[::3]), ("llamacpp", EVERY[1::3]), ("tgi", EVERY[2::3])],
    ids=["vllm", "sglang", "llamacpp", "tgi"],
)
async def test_killed_at_every_token_the_client_s_text_is_the_uninterrupted_one(pair, engine, positions):
    async with pair(engine, engine) as (served, book):
        await check_every(served, book, positions)


@pytest.mark.parametrize(
    ("first", "second"), [("vllm", "sglang"), ("sglang", "llamacpp"), ("llamacpp", "tgi"), ("tgi", "vllm")]
)
async def test_it_goes_on_across_engines_through_both_doors(pair, first, second):
    async with pair(first, second) as (served, book):
        for listener in (ROUTING, STREAMING):
            await check_every(served, book, SOME, listener=listener)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_tokens_that_come_several_at_once_are_counted_as_what_they_are(pair, engine):
    async with pair(engine, engine, chunk_tokens=3) as (served, book):
        expected = await stream(served, served.chat(**USAGE))
        for position in (1, 3, 4, 5, 20, LENGTH):
            fault = Fault(kind=FaultKind.UNREACHABLE, after_tokens=position, duration_s=GONE_S, times=1)
            heard = await broken(served, book, fault)
            assert (heard.text, heard.whole) == (expected.text, True), position
            assert counts(heard) == counts(expected), position
        assert {row["tokens_out"] for row in await served.rows()} == {LENGTH}


@pytest.mark.parametrize("engine", ["vllm", "llamacpp"])
async def test_however_it_breaks_it_goes_on(pair, engine):
    kinds = "reset cut end_early bad_json invalid_utf8 stall error_event".split()
    routing = RoutingConfig(probe_interval_s=0.05, timeouts=TimeoutsConfig(idle_s=0.5))
    async with pair(engine, engine, routing=routing) as (served, book):
        expected = await stream(served, served.chat(**USAGE))
        for kind, position in product(kinds, (3, 17)):
            heard = await broken(served, book, Fault(kind=FaultKind(kind), after_tokens=position, times=1))
            assert (heard.text, heard.whole, heard.finishes) == (expected.text, True, expected.finishes), kind
        rows = (await served.rows())[1:]
        assert {(row["outcome"], row["attempts"], row["tokens_out"]) for row in rows} == {("done", 2, LENGTH)}


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llamacpp", "tgi"])
async def test_a_limit_of_tokens_is_kept_over_the_seam(pair, engine):
    async with pair(engine, engine) as (served, book):
        limited = served.chat(**USAGE, max_tokens=12)
        expected = await stream(served, limited)
        assert expected.finishes == ["length"]
        for position in (1, 6, 11, 12):
            book.add(Fault(kind=FaultKind.UNREACHABLE, after_tokens=position, duration_s=GONE_S, times=1))
            heard = await stream(served, limited)
            book.clear()
            assert (heard.text, heard.finishes, heard.whole) == (expected.text, ["length"], True), position
            assert counts(heard) == counts(expected), position
            await settled(served)


async def test_stop_words_hold_over_the_seam(pair):
    async with pair("vllm", "vllm") as (served, book):
        plain = await stream(served, served.chat())
        word = plain.pieces[20].strip()
        stopping = served.chat(**USAGE, stop=[word])
        expected = await stream(served, stopping)
        for position in (2, 10):
            book.add(Fault(kind=FaultKind.UNREACHABLE, after_tokens=position, duration_s=GONE_S, times=1))
            heard = await stream(served, stopping)
            book.clear()
            assert (heard.text, heard.finishes, heard.whole) == (expected.text, ["stop"], True)
            await settled(served)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llamacpp"])
async def test_a_raw_completion_goes_on_too(pair, engine):
    body = {"model": "sim-model", "prompt": "Once upon a time", "max_tokens": 30, **USAGE}
    async with pair(engine, engine) as (served, book):
        expected = await stream(served, body, path=LEGACY)
        assert expected.whole
        for position in (1, 13, 29):
            book.add(Fault(kind=FaultKind.UNREACHABLE, after_tokens=position, duration_s=GONE_S, times=1))
            heard = await stream(served, body, path=LEGACY)
            book.clear()
            assert (heard.text, heard.finishes, heard.whole) == (expected.text, expected.finishes, True), position
            assert counts(heard) == counts(expected)
            await settled(served)


@pytest.mark.parametrize("position", [0, 7, LENGTH])
async def test_a_whole_answer_is_made_again_and_charged_once(pair, position):
    async with pair("vllm", "sglang") as (served, book):
        _, expected, _ = await ask(served, served.chat())
        await settled(served)
        book.add(Fault(kind=FaultKind.UNREACHABLE, after_tokens=position, duration_s=GONE_S, times=1))
        status, answer, headers = await ask(served, served.chat())
        assert (status, said(answer)) == (200, said(expected))
        assert headers["X-Citadel-Attempts"] == "2"
        rows = await served.rows()
        assert [(row["attempts"], row["tokens_out"]) for row in rows] == [(1, LENGTH), (2, LENGTH)]


def function(**properties):
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": "find", "parameters": parameters}}


WORDS = {f"word{n}": {"type": "string"} for n in range(20)}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
NOT_CONTINUED = {
    "tools": {"tools": [function()]},
    "a forced tool": {"tools": [function(**WORDS)], "tool_choice": "required"},
    "json": {"response_format": {"type": "json_object"}},
    "a schema": {"response_format": SCHEMA},
}


async def check_honest(served, book, body, why):
    """Broken in mid-answer through either door: the stream says so, nobody else is asked, what was said is charged."""
    for listener in (ROUTING, STREAMING):
        rows, calls = len(await served.rows()), sum(sim.stats.started for sim in served.simulators)
        book.add(Fault(kind=FaultKind.UNREACHABLE, after_tokens=7, duration_s=GONE_S, times=1))
        heard = await stream(served, body, listener=listener)
        book.clear()
        assert heard.honest, (why, heard.data[-2:])
        assert heard.errors[0]["code"] == "upstream_error", why
        (row,) = (await served.rows())[rows:]
        assert (row["outcome"], row["attempts"]) == ("truncated", 1), why
        assert 0 < row["tokens_out"] <= 7, why
        assert (await decision(served, heard.headers))["outcome"] == "truncated", why
        assert sum(sim.stats.started for sim in served.simulators) == calls + 1, "a second replica was asked"
        await settled(served)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_what_must_not_be_continued_says_so(pair, engine):
    async with pair(engine, engine) as (served, book):
        for why, fields in NOT_CONTINUED.items():
            await check_honest(served, book, served.chat(**fields), why)


@pytest.mark.parametrize(("engine", "changes"), [("vllm", {"reasoning_tokens": 20}), ("openai", {})])
async def test_thoughts_and_engines_that_do_not_continue_say_so(pair, engine, changes):
    async with pair(engine, engine, **changes) as (served, book):
        await check_honest(served, book, served.chat(), engine)


async def test_before_the_first_token_everything_is_tried_elsewhere(pair):
    async with pair("vllm", "vllm") as (served, book):
        for why, fields in NOT_CONTINUED.items():
            expected = await stream(served, served.chat(**fields))
            named = "tool_choice" in fields  # the tool's name comes before the first token, and is an answer
            fault = FaultKind.REFUSE if named else FaultKind.UNREACHABLE
            match = Match(path="/v1/chat/completions")
            book.add(Fault(kind=fault, after_tokens=0, duration_s=GONE_S, times=1, match=match))
            heard = await stream(served, served.chat(**fields))
            book.clear()
            assert (heard.whole, heard.text, heard.finishes) == (True, expected.text, expected.finishes), why
            await settled(served)


async def test_when_all_replicas_die_the_stream_ends_honestly(pair):
    routing = RoutingConfig(probe_interval_s=0.05, capacity_wait_s=0.5)
    async with pair("vllm", "vllm", routing=routing) as (served, book):
        expected = await stream(served, served.chat())
        for position in (9, 5):
            book.add(Fault(kind=FaultKind.UNREACHABLE, after_tokens=position, times=1))
        heard = await asyncio.wait_for(stream(served, served.chat()), 30)
        assert heard.honest, heard.data[-2:]
        assert expected.text.startswith(heard.text)
        row = (await served.rows())[-1]
        assert (row["outcome"], row["attempts"]) == ("truncated", 2)
        assert 0 < row["tokens_out"] <= 14
        book.clear()


async def test_two_of_three_die_and_the_third_ends_it(pair):
    async with pair("vllm", "sglang", "llamacpp") as (served, book):
        expected = await stream(served, served.chat(**USAGE))
        for position in (9, 5):
            book.add(Fault(kind=FaultKind.UNREACHABLE, after_tokens=position, times=1))
        heard = await asyncio.wait_for(stream(served, served.chat(**USAGE)), 30)
        assert (heard.text, heard.whole) == (expected.text, True)
        assert counts(heard) == counts(expected)
        row = (await served.rows())[-1]
        assert (row["outcome"], row["attempts"]) == ("done", 3)
        attempts = (await decision(served, heard.headers))["attempts"]
        assert len({attempt["upstream"] for attempt in attempts}) == 3
        assert attempts[-1]["outcome"] == "done"
        book.clear()


@pytest.mark.parametrize("engine", ["vllm", "llamacpp"])
async def test_a_frozen_replica_s_stream_goes_on_within_seconds(pair, engine):
    steady = {"timing": Timing(decode_ms=25)}
    async with pair(engine, engine, routing=RoutingConfig(probe_interval_s=0.2), **steady) as (served, _):
        expected = await stream(served, served.chat())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(stream(served, served.chat()))
            speaking = await until_speaking(served, tokens=10)
            speaking.freeze()
            heard = await asyncio.wait_for(task, 25)
        assert (heard.text, heard.whole) == (expected.text, True)
        pauses = [later - earlier for earlier, later in zip(heard.seen, heard.seen[1:], strict=False)]
        assert max(pauses) < 15, "idle_s is 30: the probes told it earlier"
        speaking.thaw()
        await settled(served)


async def until_speaking(served, *, tokens):
    """The one simulator that is at work, once it has said so much."""
    async with asyncio.timeout(10):
        while True:
            for sim in served.simulators:
                if any(record.sent >= tokens for record in sim.stats.active.values()):
                    return sim
            await asyncio.sleep(0.005)


async def test_a_client_that_leaves_at_the_seam_leaves_nothing_behind(pair):
    async with pair("vllm", "vllm") as (served, book):
        book.add(Fault(kind=FaultKind.UNREACHABLE, after_tokens=9, duration_s=GONE_S, times=1))
        book.add(Fault(kind=FaultKind.FREEZE, times=1, match=Match(path="/v1/chat/completions", contains="assistant")))
        task = asyncio.get_running_loop().create_task(stream(served, served.chat()))
        async with asyncio.timeout(10):
            while sum(len(sim.stats.records) for sim in served.simulators) < 2:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        await idle(served)
        (row,) = await served.rows()
        assert (row["outcome"], row["attempts"]) == ("cancelled", 2)
        assert 0 < row["tokens_out"] <= 9, "what was said is charged, once"
        book.clear()


async def test_many_streams_are_continued_at_once(pair):
    steady = {"timing": Timing(decode_ms=20)}
    async with pair("vllm", "sglang", "llamacpp", slots=64, **steady) as (served, _):
        prompts = [f"Tell number {n}." for n in range(24)]
        bodies = [served.chat(messages=[{"role": "user", "content": prompt}]) for prompt in prompts]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(stream(served, body)) for body in bodies]
            await until_speaking(served, tokens=8)
            busiest = max(served.simulators, key=lambda sim: len(sim.stats.active))
            await busiest.kill()
        rows = await served.rows("SELECT attempts, outcome FROM usage_events")
        assert {row["outcome"] for row in rows} == {"done"}
        assert sum(row["attempts"] == 2 for row in rows) >= 5
        answers = await asyncio.gather(*(ask(served, body) for body in bodies))
        for task, (_, whole, _) in zip(tasks, answers, strict=True):
            assert (task.result().whole, task.result().text) == (True, said(whole))
        await busiest.restart()
