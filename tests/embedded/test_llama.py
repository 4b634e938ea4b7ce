"""The embedded replicas, on the real model."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from citadel_edge.config.shape import Capability, Config, EmbeddedConfig, Engine, PostgresConfig, RedisConfig
from citadel_edge.embedded.llama import SERVER
from citadel_edge.embedded.model import assemble, find_chunks
from citadel_edge.embedded.parts import Parts, open_parts
from embedded import processes
from embedded.processes import soon
from embedded.serving import READY_S, quiet_log, unheard

MODEL_FILE = "gemma-3-270m-q4_k_m.gguf"
SIZES = EmbeddedConfig(replicas=2, slots=2, threads=1, context_tokens=512)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the prepared model."""
    folder = tmp_path_factory.mktemp("models")
    assemble(find_chunks(), folder, _within_bounds)
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """One server on its own: its URL and its log."""
    log = tmp_path_factory.mktemp("server") / "log"
    with socket.socket() as holder, log.open("wb") as output:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        options = {"model": models / MODEL_FILE, "alias": "gemma-3-270m", "port": port}
        sizes = {"slots": 2, "context-tokens": 512, "threads": 1}
        command = [sys.executable, "-P", str(SERVER), *(f"--{name}={it}" for name, it in (options | sizes).items())]
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
            assert processes.until(lambda: "listening" in log.read_text())
            yield f"http://127.0.0.1:{port}", log
            process.kill()


@asynccontextmanager
async def replicas(data_dir: Path, progress: Callable[[str], None] = unheard) -> AsyncIterator[Parts]:
    config = Config(
        data_dir=data_dir,
        redis=RedisConfig(url="redis://127.0.0.1:1"),
        postgres=PostgresConfig(dsn="postgresql://127.0.0.1:1"),
        embedded=SIZES,
    )
    async with open_parts(config, log=quiet_log(), progress=progress) as parts:
        yield parts


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Ask]:
    """Ask one server: a POST where there are fields, else a GET; the answer's JSON."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:

        async def ask(path: str, **fields: Any) -> Any:
            async with session.request("POST" if fields else "GET", url + path, json=fields or None) as answer:
                return json.loads(await answer.read())

        yield ask


async def test_the_first_start_shows_progress_and_the_second_has_nothing_to_prepare(open_dir: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        async with replicas(open_dir / "var", lines.append) as parts:
            assert set(parts.states()) == {"local-0", "local-1"}
            assert (parts.redis_url, parts.postgres_dsn) == (None, None)
        assert lines == [f"preparing the model gemma-3-270m: {percent} %" for percent in range(0, 101, 10)]
    assert processes.of(open_dir) == set()


async def test_the_fleet_and_the_router_are_told_what_there_is(open_dir: Path, models: Path) -> None:
    (open_dir / "models").symlink_to(models)
    async with replicas(open_dir) as parts:
        (model,) = parts.models
        assert [(one.id, one.engine, one.slots) for one in parts.upstreams] == [
            ("local-0", Engine.LLAMACPP, 2),
            ("local-1", Engine.LLAMACPP, 2),
        ]
        assert (model.name, model.context_tokens) == ("gemma-3-270m", 512)
        assert [deployment.upstream for deployment in model.deployments] == ["local-0", "local-1"]
        assert model.capabilities == (Capability.JSON, Capability.EMBEDDINGS)


async def test_a_question_is_answered_and_the_answer_ends(server: tuple[str, Path]) -> None:
    async with client(server[0]) as ask:
        answer = await ask("/v1/chat/completions", messages=QUESTION, temperature=0, max_tokens=40)
    assert answer["model"] == "gemma-3-270m"
    assert answer["choices"] == [
        {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": " Paris"}}
    ]


async def test_embeddings_tell_near_from_far(server: tuple[str, Path]) -> None:
    async with client(server[0]) as ask:
        vectors = await ask("/v1/embeddings", input=["a cat", "a kitten", "a stock exchange"])
    cat, kitten, exchange = (row["embedding"] for row in vectors["data"])
    assert _dot(cat, kitten) > _dot(cat, exchange)


async def test_an_answer_can_be_held_to_json(server: tuple[str, Path]) -> None:
    asked = [{"role": "user", "content": "Give me a JSON object with name and age."}]
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    async with client(server[0]) as ask:
        answer = await ask("/v1/chat/completions", messages=asked, response_format=form, temperature=0, max_tokens=64)
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["age"], int)


async def test_slots_and_contexts_are_as_configured(server: tuple[str, Path]) -> None:
    async with client(server[0]) as ask:
        props, slots = await ask("/props"), await ask("/slots")
    assert props["total_slots"] == len(slots) == 2
    assert {slot["n_ctx"] for slot in slots} == {512}


async def test_an_answer_is_continued_without_a_seam(server: tuple[str, Path]) -> None:
    conversation = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": [{"type": "text", "text": "Two?"}]},
    ]
    asked = "Be brief.\n\nQuestion: One?\nAnswer: 1\n\nQuestion: Two?\nAnswer:"
    begun = [*conversation, {"role": "assistant", "content": " it is tw"}]
    async with client(server[0]) as ask:
        assert (await ask("/apply-template", messages=conversation))["prompt"] == asked
        assert (await ask("/apply-template", messages=begun))["prompt"] == asked + " it is tw"


async def test_web_pages_are_not_let_in(server: tuple[str, Path]) -> None:
    origin = {"Origin": "http://elsewhere.example"}
    async with aiohttp.ClientSession() as session, session.get(f"{server[0]}/health", headers=origin) as answer:
        assert answer.headers.get("Access-Control-Allow-Origin", "") == ""


async def test_prompts_are_not_logged(server: tuple[str, Path]) -> None:
    async with client(server[0]) as ask:
        await ask("/v1/chat/completions", messages=[{"role": "user", "content": "my secret word"}], max_tokens=3)
    assert "secret" not in server[1].read_text()


async def test_a_killed_replica_comes_back_on_its_port_while_the_other_serves(open_dir: Path, models: Path) -> None:
    (open_dir / "models").symlink_to(models)
    async with replicas(open_dir) as parts:
        await parts.ready(READY_S)
        first, second = (upstream.url for upstream in parts.upstreams)
        victim = _server(open_dir, first)
        os.kill(victim, signal.SIGKILL)
        async with client(second) as ask:
            answer = await ask("/v1/chat/completions", messages=QUESTION, max_tokens=2)
        assert answer["usage"]["completion_tokens"] == 2
        assert await soon(lambda: parts.supervisors["local-0"].restarts == 1)
        await parts.ready(READY_S)
        async with client(first) as ask:
            assert (await ask("/health"))["status"] == "ok"
        assert _server(open_dir, first) != victim
    assert processes.of(open_dir) == set()


def _server(data_dir: Path, url: str) -> int:
    port = url.rpartition(":")[2]
    (server,) = (
        pid
        for pid in processes.of(data_dir) - processes.keepers(data_dir)
        if f"--port={port} " in processes.command(pid)
    )
    return server


def _within_bounds(percent: int) -> None:
    assert 0 <= percent <= 100


def _dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
