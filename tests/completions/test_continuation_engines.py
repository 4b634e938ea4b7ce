"""One answer over two and more simulated replicas, real sockets: its text is the uninterrupted one, byte for byte."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from citadel_edge.completions.continuation import NotContinued
from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.server import Simulator, running
from completions.continued import ESTIMATE, Replica, Told, text_of, told

ENGINES = ["vllm", "sglang", "llamacpp", "tgi"]
PAIRS = [*((one, other) for one in ENGINES for other in ENGINES), ("ollama", "llamacpp"), ("openai", "vllm")]
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Tell me of the rocket."}]}
RAW: dict[str, Any] = {"prompt": "Once upon the state", "max_tokens": 20}
BOTH = pytest.mark.parametrize("body", [CHAT, RAW], ids=["chat", "raw"])


@dataclass
class Rack:
    """Simulators of every engine that would all say the same, made when they are asked for."""

    stack: AsyncExitStack
    session: aiohttp.ClientSession
    sims: dict[tuple[str, int], Simulator] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    async def sim(self, engine: str, number: int = 0) -> Simulator:
        found = self.sims.get((engine, number))
        if found is None:
            options = {"seed": 50, "voice": "one", "shortest": 10, "longest": 13, **self.options}
            asked = SimulatorOptions(engine=Engine(engine), **options)
            found = self.sims[engine, number] = await self.stack.enter_async_context(running(asked))
        return found

    async def tell(self, body: dict[str, Any], *engines: str, breaks: tuple[int, ...] = (), kind: str = "cut") -> Told:
        """One answer by these replicas; each of the first breaks off after so many tokens of its own."""
        replicas = []
        for number, engine in enumerate(engines):
            sim = await self.sim(engine, number)
            if number < len(breaks):
                await sim.fault(kind, after_tokens=breaks[number], times=1)
            replicas.append(Replica(engine, sim.url))
        got = await told(self.session, body, replicas)
        for number, engine in enumerate(engines):
            await (await self.sim(engine, number)).lift()
        return got


@pytest.fixture
async def rack() -> AsyncIterator[Rack]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Rack(stack, session)


def usage_of(got: Told) -> tuple[int, int, int]:
    usage = got.usages[-1]
    return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]


@BOTH
@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_broken_at_every_token_it_says_what_it_would_have_said(
    rack: Rack, first: str, second: str, body: dict[str, Any]
) -> None:
    body = {**body, "stream_options": {"include_usage": True}}
    whole = await rack.tell(body, first)
    assert whole.ended
    assert any(character > "\uffff" for character in whole.text)
    tokens = usage_of(whole)[1]
    for place in range(1, tokens + 1):
        got = await rack.tell(body, first, second, breaks=(place,))
        assert (got.text, got.finish, got.ended) == (whole.text, whole.finish, True), (place, got)
        assert usage_of(got) == usage_of(whole), place
        assert got.relay is not None
        assert (got.relay.prompt_tokens, got.relay.generated) == usage_of(whole)[:2]
        assert (
            len({(one["id"], one["created"], one["model"], one.get("system_fingerprint")) for one in got.chunks}) == 1
        )
        assert not any(choice.get("delta", {}).get("role") for choice in choices_after(got, place))


def choices_after(got: Told, place: int) -> list[dict[str, Any]]:
    """The choices of the second replica's chunks."""
    choices = [choice for one in got.chunks for choice in one["choices"]]
    ends = [number for number, choice in enumerate(choices, 1) if text_of(choice)]
    return choices[ends[place - 1] :]


async def test_two_replicas_and_more_may_break(rack: Rack) -> None:
    body = {**CHAT, "stream_options": {"include_usage": True}}
    whole = await rack.tell(body, "vllm")
    for breaks in ((1, 1, 1), (3, 2, 4), (4, 0, 3), (1, 9)):
        got = await rack.tell(body, "vllm", "tgi", "llamacpp", "sglang", breaks=breaks)
        assert (got.text, got.finish, usage_of(got)) == (whole.text, whole.finish, usage_of(whole)), breaks
        assert len(got.failures) == len(breaks)


@pytest.mark.parametrize(
    "kind", ["reset", "cut", "end_early", "error_event", "bad_json", "invalid_utf8", "unreachable"]
)
@pytest.mark.parametrize("engine", ["vllm", "llamacpp"])
async def test_however_it_breaks_off(rack: Rack, engine: str, kind: str) -> None:
    whole = await rack.tell(CHAT, engine)
    got = await rack.tell(CHAT, engine, engine, breaks=(4,), kind=kind)
    assert (got.text, got.finish) == (whole.text, whole.finish)
    assert len(got.failures) == 1


@BOTH
@pytest.mark.parametrize("engine", [*ENGINES, "ollama", "openai"])
async def test_who_did_not_ask_sees_no_count(rack: Rack, engine: str, body: dict[str, Any]) -> None:
    """Byte for byte what the engine says to one who asks for the usage at the end alone, but for that usage."""
    got = await rack.tell(body, engine)
    sim = await rack.sim(engine)
    asked = {"model": "sim-model", "stream": True, "stream_options": {"include_usage": True}, **body}
    async with rack.session.post(
        sim.url + ("/v1/chat/completions" if "messages" in body else "/v1/completions"), json=asked
    ) as answer:
        plain = await answer.read()
    events = [one for one in plain.split(b"\n\n") if one and one != b"data: [DONE]" and b'"choices":[]' not in one]
    unique = chunk_id(plain)
    assert got.out.replace(chunk_id(got.out), unique) == b"\n\n".join(events) + b"\n\n"


def chunk_id(stream: bytes) -> bytes:
    return stream.partition(b'"id":"')[2].partition(b'"')[0] or b"no id"


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_a_client_may_ask_for_continuous_usage_itself(rack: Rack, engine: str) -> None:
    body = {**CHAT, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    whole = await rack.tell(body, engine)
    counted = [one["completion_tokens"] for one in whole.usages]
    assert counted == sorted(counted)
    assert len(counted) > len(whole.pieces)
    got = await rack.tell(body, engine, engine, breaks=(5,))
    assert got.text == whole.text
    assert sorted(one["completion_tokens"] for one in got.usages) == [one["completion_tokens"] for one in got.usages]
    assert usage_of(got) == usage_of(whole)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("size", [2, 3])
async def test_several_tokens_a_chunk_are_counted_as_what_they_are(rack: Rack, engine: str, size: int) -> None:
    rack.options |= {"chunk_tokens": size}
    whole = await rack.tell(CHAT, engine)
    assert whole.relay is not None
    assert len(whole.pieces) < whole.relay.generated
    broken = await rack.tell(CHAT, engine, breaks=(size * 2,))
    assert broken.relay is not None
    assert broken.relay.generated == size * len(broken.pieces)
    for place in range(1, whole.relay.generated):
        got = await rack.tell(CHAT, engine, "llamacpp", breaks=(place,))
        assert (got.text, got.finish) == (whole.text, whole.finish), place
        assert got.relay is not None
        assert got.relay.generated == whole.relay.generated, place


@BOTH
@pytest.mark.parametrize(
    ("first", "second"), [("vllm", "sglang"), ("sglang", "tgi"), ("llamacpp", "vllm"), ("tgi", "llamacpp")]
)
async def test_a_bound_on_tokens_holds_over_the_seam(rack: Rack, first: str, second: str, body: dict[str, Any]) -> None:
    body = {**body, "max_tokens": 7, "min_tokens": 4, "stream_options": {"include_usage": True}}
    whole = await rack.tell(body, first)
    assert whole.finish == ["length"]
    for place in range(1, 8):
        got = await rack.tell(body, first, second, breaks=(place,))
        assert (got.text, got.finish, got.ended) == (whole.text, ["length"], True), place
        if place < 7:
            assert (got.bodies[1]["max_tokens"], got.bodies[1]["min_tokens"]) == (7 - place, max(0, 4 - place))
            assert usage_of(got) == usage_of(whole)
        else:
            assert len(got.bodies) == 1, "nothing was left to say: nobody was asked"
            exact = first in {"vllm", "sglang"}
            assert usage_of(got)[0] == (usage_of(whole)[0] if exact else ESTIMATE)
            assert usage_of(got)[1] == 7


async def test_the_engine_s_own_bound_of_raw_completions_holds_too(rack: Rack) -> None:
    rack.options |= {"shortest": 40, "longest": 40}
    whole = await rack.tell({"prompt": "Once"}, "vllm")
    got = await rack.tell({"prompt": "Once"}, "vllm", "llamacpp", breaks=(5,))
    assert (got.text, got.finish) == (whole.text, ["length"])
    assert got.bodies[1]["max_tokens"] == 16 - 5


@pytest.mark.parametrize(("first", "second"), [(one, other) for one in ENGINES for other in ENGINES])
@pytest.mark.parametrize("start", ["My own start:", "My own start: ", "  My"])
async def test_a_started_answer_of_the_client_s_own_goes_on(rack: Rack, first: str, second: str, start: str) -> None:
    flags = {"continue_final_message": True, "add_generation_prompt": False} if first in {"vllm", "sglang"} else {}
    body = {"messages": [*CHAT["messages"], {"role": "assistant", "content": start}], **flags}
    whole = await rack.tell(body, first)
    assert whole.ended
    for place in (1, 2, 6, len(whole.pieces)):
        got = await rack.tell(body, first, second, breaks=(place,))
        assert (got.text, got.finish) == (whole.text, whole.finish), (place, got.bodies, got.failures)


async def test_an_answer_that_the_conversation_s_end_did_not_start_is_one_of_its_own(rack: Rack) -> None:
    body = {"messages": [*CHAT["messages"], {"role": "assistant", "content": "So it was."}]}
    whole = await rack.tell(body, "vllm")
    got = await rack.tell(body, "vllm", "vllm", breaks=(4,))
    assert len(got.bodies[1]["messages"]) == 3
    assert (got.text, got.finish) == (whole.text, whole.finish)
    assert (await rack.tell(body, "vllm", "llamacpp", breaks=(4,))).refused
    assert (await rack.tell(body, "ollama", "vllm", breaks=(4,))).refused


@pytest.mark.parametrize("first", ["vllm", "llamacpp", "ollama"])
async def test_nothing_of_another_answer_is_ever_joined(rack: Rack, first: str) -> None:
    whole = await rack.tell(CHAT, first)
    for place in range(1, len(whole.pieces)):
        got = await rack.tell(CHAT, first, "ollama", breaks=(place,))
        assert isinstance(got.failures[-1], NotContinued)
        assert got.pieces == whole.pieces[:place]
        assert got.relay is not None
        assert got.relay.generated == place
        got = await rack.tell(CHAT, first, "ollama", "sglang", breaks=(place,))
        assert (got.text, got.finish) == (whole.text, whole.finish)
        assert (await rack.tell(CHAT, first, "openai", breaks=(place,))).refused


async def test_a_stop_string_is_kept_over_the_seam(rack: Rack) -> None:
    plain = await rack.tell(CHAT, "vllm")
    for word in (
        plain.pieces[6].strip(),
        plain.pieces[5][-2:] + plain.pieces[6][:2],
        plain.pieces[7][1:] + plain.pieces[8][:1],
    ):
        body = {**CHAT, "stop": [word]}
        whole = await rack.tell(body, "vllm")
        assert whole.finish == ["stop"]
        for place in range(1, 9):
            got = await rack.tell(body, "vllm", "llamacpp", breaks=(place,))
            assert (got.text, got.finish) == (whole.text, whole.finish), (word, place)


async def test_a_raw_completion_goes_on_where_the_text_shows_that_it_does(rack: Rack) -> None:
    """An answer of its own would begin without a space, as this one did."""
    body = {**RAW, "prompt": "Once upon the state "}
    whole = await rack.tell(body, "vllm")
    for place in range(1, len(whole.pieces)):
        got = await rack.tell(body, "vllm", "ollama", breaks=(place,))
        assert (got.text, got.ended) == (whole.text, True), (place, got.failures)
    got = await rack.tell(RAW, "vllm", "ollama", breaks=(4,))
    assert isinstance(got.failures[-1], NotContinued), "this one began with a space itself"
