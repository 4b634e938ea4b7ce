"""The embedded replicas, on the real model."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from citadel_edge.config.shape import Capability, Config, EmbeddedConfig, Engine, PostgresConfig, RedisConfig
from citadel_edge.embedded.parts import Parts, open_parts
from citadel_edge.embedded.supervisor import PartState
from embedded import processes
from embedded.processes import soon
from embedded.serving import READY_S, quiet_log, unheard

ELSEWHERE = Config(
    redis=RedisConfig(url="redis://127.0.0.1:1"),
    postgres=PostgresConfig(dsn="postgresql://127.0.0.1:1"),
    embedded=EmbeddedConfig(replicas=1, slots=2, threads=1, context_tokens=512),
)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@asynccontextmanager
async def replicas(
    data_dir: Path, embedded: EmbeddedConfig = ELSEWHERE.embedded, progress: Callable[[str], None] = unheard
) -> AsyncIterator[Parts]:
    config = Config(data_dir=data_dir, redis=ELSEWHERE.redis, postgres=ELSEWHERE.postgres, embedded=embedded)
    async with open_parts(config, log=quiet_log(), progress=progress) as parts:
        await parts.ready(READY_S)
        yield parts


async def test_the_first_start_shows_progress_and_the_second_has_nothing_to_prepare(open_dir: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        async with replicas(open_dir / "var", progress=lines.append) as parts:
            assert parts.states() == {"local-0": PartState.READY}
            assert (parts.redis_url, parts.postgres_dsn) == (None, None)
        assert lines == [f"preparing the model gemma-3-270m: {percent} %" for percent in range(0, 101, 10)]
    assert processes.of(open_dir) == set()


async def test_a_replica_answers_as_the_fleet_expects(open_dir: Path) -> None:
    async with replicas(open_dir) as parts, _client(parts) as ask:
        (upstream,), (model,) = parts.upstreams, parts.models
        assert (upstream.id, upstream.engine, upstream.slots) == ("local-0", Engine.LLAMACPP, 2)
        assert (model.name, model.context_tokens) == ("gemma-3-270m", 512)
        assert [deployment.upstream for deployment in model.deployments] == ["local-0"]
        assert Capability.EMBEDDINGS in model.capabilities

        answer = await ask("/v1/chat/completions", messages=QUESTION, temperature=0, max_tokens=40)
        assert answer["choices"][0] == {
            "finish_reason": "stop",
            "index": 0,
            "message": {"role": "assistant", "content": " Paris"},
        }
        assert answer["model"] == "gemma-3-270m"

        vectors = await ask("/v1/embeddings", input=["a cat", "a kitten", "a stock exchange"])
        cat, kitten, exchange = (row["embedding"] for row in vectors["data"])
        assert _dot(cat, kitten) > _dot(cat, exchange)

        props, slots = await ask("/props"), await ask("/slots")
        assert props["total_slots"] == len(slots) == 2
        assert {slot["n_ctx"] for slot in slots} == {512}


async def test_an_answer_is_continued_without_a_seam(open_dir: Path) -> None:
    conversation = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": [{"type": "text", "text": "Two?"}]},
    ]
    asked = "Be brief.\n\nQuestion: One?\nAnswer: 1\n\nQuestion: Two?\nAnswer:"
    async with replicas(open_dir) as parts, _client(parts) as ask:
        assert (await ask("/apply-template", messages=conversation))["prompt"] == asked
        begun = [*conversation, {"role": "assistant", "content": " it is tw"}]
        assert (await ask("/apply-template", messages=begun))["prompt"] == asked + " it is tw"


async def test_web_pages_are_not_let_in(open_dir: Path) -> None:
    async with replicas(open_dir) as parts, aiohttp.ClientSession() as session:
        origin = {"Origin": "http://elsewhere.example"}
        async with session.get(f"{parts.upstreams[0].url}/health", headers=origin) as answer:
            assert answer.headers.get("Access-Control-Allow-Origin", "") == ""


async def test_a_killed_replica_comes_back_on_its_port_while_the_other_serves(open_dir: Path) -> None:
    two = EmbeddedConfig(replicas=2, slots=1, threads=1, context_tokens=256)
    async with replicas(open_dir, two) as parts, _client(parts, 1) as ask:
        victim = _server(open_dir, "local-0", parts)
        os.kill(victim, signal.SIGKILL)
        assert (await ask("/v1/chat/completions", messages=QUESTION, max_tokens=2))["usage"]["completion_tokens"] == 2
        assert await soon(lambda: not processes.alive(victim))
        await asyncio.sleep(0)
        await parts.ready(READY_S)
        async with _client(parts, 0) as ask_first:
            assert await soon(lambda: parts.states()["local-0"] is PartState.READY)
            assert (await ask_first("/health"))["status"] == "ok"
        assert _server(open_dir, "local-0", parts) != victim
    assert processes.of(open_dir) == set()


@pytest.mark.parametrize("path", ["logs-embedded/local-0.log"])
async def test_prompts_are_not_logged(open_dir: Path, path: str) -> None:
    async with replicas(open_dir) as parts, _client(parts) as ask:
        await ask("/v1/chat/completions", messages=[{"role": "user", "content": "my secret word"}], max_tokens=3)
    assert "secret" not in (open_dir / path).read_text()


@asynccontextmanager
async def _client(parts: Parts, number: int = 0) -> AsyncIterator[Callable[..., Any]]:
    """Ask one replica: a POST where there are fields, else a GET; the answer's JSON."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:

        async def ask(path: str, **fields: Any) -> Any:
            method = "POST" if fields else "GET"
            url = parts.upstreams[number].url + path
            async with session.request(method, url, json=fields or None) as answer:
                return json.loads(await answer.read())

        yield ask


def _server(data_dir: Path, name: str, parts: Parts) -> int:
    port = parts.upstreams[int(name.removeprefix("local-"))].url.rpartition(":")[2]
    held = processes.keepers(data_dir)
    servers = [pid for pid in processes.of(data_dir) if f"--port={port}" in processes.command(pid)]
    (server,) = (pid for pid in servers if pid not in held)
    return server


def _dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
