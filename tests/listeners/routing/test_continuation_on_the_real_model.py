"""A broken answer of the real model goes on at the second llama.cpp server, with nothing doubled or missing.

Greedy decoding is not bit-stable between reading and generating, so the text need not be the uninterrupted one: what
was sent stays, and the rest is what the second replica answers for exactly that beginning. Between the edge and each
server stands a tap that hears both, and breaks the first answer where the test says.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from citadel_edge.config.shape import DeploymentConfig, Engine, ModelConfig, RoutingConfig, UpstreamConfig
from citadel_edge.embedded.llama import SERVER
from citadel_edge.embedded.model import assemble, find_chunks
from citadel_edge.simulator.wounds import reset
from citadel_edge.wire.sse import Decoder
from conversations import idle, stream

MODEL, FILE = "gemma-3-270m", "gemma-3-270m-q4_k_m.gguf"
STARTS_S = 60.0
QUESTION = [{"role": "user", "content": "Tell me a long story about a fox who lives in a forest and meets a bear."}]
LONG = {
    "model": MODEL,
    "messages": QUESTION,
    "temperature": 0,
    "max_tokens": 40,
    "cache_prompt": False,
    "stream_options": {"include_usage": True},
}
CHAT = "/v1/chat/completions"
HOP = frozenset("connection content-length host keep-alive transfer-encoding".split())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    assemble(find_chunks(), folder, lambda _: None)
    return folder / FILE


@contextmanager
def server(model: Path, folder: Path):
    """One llama.cpp server: its process and URL."""
    with socket.socket() as holder, (folder / "log").open("wb") as output:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        fields = {"model": model, "alias": MODEL, "port": port, "slots": 2, "context-tokens": 512, "threads": 1}
        command = [sys.executable, "-P", str(SERVER), *(f"--{name}={value}" for name, value in fields.items())]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def servers(model, tmp_path_factory):
    with (
        server(model, tmp_path_factory.mktemp("one")) as one,
        server(model, tmp_path_factory.mktemp("two")) as two,
    ):
        asyncio.run(_until_loaded([one[1], two[1]]))
        yield [one[1], two[1]]


async def _until_loaded(urls):
    async with aiohttp.ClientSession() as client, asyncio.timeout(STARTS_S):
        for url in urls:
            while not await _answers(client, url):
                await asyncio.sleep(0.1)


async def _answers(client, url):
    try:
        async with client.get(url + "/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


class Tap:
    """Forwards to one server and remembers its chats: the body and the pieces of text, as they passed."""

    def __init__(self, url, breaks):
        self.target = url
        self.url = ""
        self.chats = []
        self._breaks = breaks  # shared by the taps: after how many pieces the next answer is broken

    @asynccontextmanager
    async def open(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = "http://{}:{}".format(*site._server.sockets[0].getsockname()[:2])
            async with aiohttp.ClientSession() as self._client:
                yield self
        finally:
            await runner.cleanup()

    async def _pass(self, request):
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        async with self._client.request(
            request.method, self.target + request.path_qs, data=body, headers=headers
        ) as it:
            response = web.StreamResponse(status=it.status, headers={"Content-Type": it.headers["Content-Type"]})
            await response.prepare(request)
            if request.path == CHAT:
                await self._relay(request, response, it, json.loads(body))
            else:
                await response.write(await it.read())
            return response

    async def _relay(self, request, response, answer, body):
        pieces, decoder = [], Decoder()
        self.chats.append((body, pieces))
        limit = self._breaks.pop() if self._breaks else None
        async for part in answer.content.iter_any():
            for event in decoder.feed(part):
                if limit is not None and len(pieces) >= limit:
                    reset(request.transport)
                    return
                pieces.extend(_texts(event.data))
                await response.write(b"data: " + event.data + b"\n\n")
                await asyncio.sleep(0.005)  # so that each piece is on its way before the connection breaks


def _texts(data):
    if data == b"[DONE]":
        return []
    deltas = [choice["delta"].get("content") for choice in json.loads(data)["choices"]]
    return [text for text in deltas if text]


@pytest.fixture
def tapped(edge_with, servers):
    """`async with tapped() as (served, taps, breaks)`: an edge over both servers, each behind its tap."""

    @asynccontextmanager
    async def serve():
        async with AsyncExitStack() as stack:
            breaks = []
            taps = [await stack.enter_async_context(Tap(url, breaks).open()) for url in servers]
            served = await stack.enter_async_context(over(edge_with, [tap.url for tap in taps]))
            yield served, taps, breaks

    return serve


def over(edge_with, urls):
    changes = {
        "upstreams": tuple(
            UpstreamConfig(id=f"local-{n}", url=url, engine=Engine.LLAMACPP, slots=2) for n, url in enumerate(urls)
        ),
        "models": (
            ModelConfig(
                name=MODEL,
                context_tokens=512,
                deployments=tuple(DeploymentConfig(upstream=f"local-{n}") for n in range(len(urls))),
            ),
        ),
        "routing": RoutingConfig(probe_interval_s=0.2),
    }
    return edge_with(options=(), changes=changes)


async def direct(url, body):
    """What a server says to exactly this body."""
    async with aiohttp.ClientSession() as client, client.post(url + CHAT, json=body) as answer:
        decoder = Decoder()
        events = [event async for part in answer.content.iter_any() for event in decoder.feed(part)]
    return "".join(text for event in events for text in _texts(event.data))


@pytest.mark.parametrize("position", [1, 2, 5, 11, 20, 33])
async def test_the_rest_is_what_the_second_replica_says_to_that_beginning(tapped, position):
    async with tapped() as (served, taps, breaks):
        breaks.append(position)
        heard = await asyncio.wait_for(stream(served, LONG), 60)
        assert heard.whole, heard.data[-2:]
        first, second = sorted(
            ((tap, *chat) for tap in taps for chat in tap.chats), key=lambda each: len(each[1]["messages"])
        )
        (_, _, said), (tap, body, rest) = first, second
        assert tap is not first[0]
        assert len(said) == position
        begun = body["messages"][-1]
        assert begun["role"] == "assistant"
        sent = "".join(said)
        assert heard.text.startswith(sent), "what was sent stays"
        assert heard.text == begun["content"] + "".join(rest), "nothing doubled, nothing missing"
        assert "".join(rest) == await direct(tap.target, body)
        (usage,) = heard.usages
        assert position < usage["completion_tokens"] <= LONG["max_tokens"]
        (row,) = await served.rows()
        assert (row["outcome"], row["attempts"], row["tokens_out"]) == ("done", 2, usage["completion_tokens"])
        await idle(served)


async def test_a_killed_server_s_answers_go_on_at_the_other(edge_with, model, servers, tmp_path):
    with server(model, tmp_path) as (process, url):
        await _until_loaded([url])
        async with over(edge_with, [url, servers[1]]) as served:
            bodies = [
                {**LONG, "messages": [{"role": "user", "content": f"Tell me {n} facts about Paris."}]} for n in (3, 7)
            ]
            for _ in range(3):  # both replicas have been asked, so both are known
                await stream(served, {**LONG, "max_tokens": 2})
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(stream(served, body)) for body in bodies]
                await asyncio.sleep(0.6)
                os.kill(process.pid, signal.SIGKILL)
            for task in tasks:
                assert task.result().whole, task.result().data[-2:]
                assert task.result().usages[0]["completion_tokens"] <= LONG["max_tokens"]
            rows = await served.rows()
            assert {row["outcome"] for row in rows} == {"done"}
            await settled_but(served, "local-0")


async def settled_but(served, dead):
    async with asyncio.timeout(10):
        while True:
            async with served.client.get(served.url("/v1/upstreams"), headers=served.as_admin()) as answer:
                health = {row["id"]: row["health"] for row in (await answer.json())["data"]}
            if health[dead] == "unhealthy" and sum(value == "healthy" for value in health.values()) == 1:
                return
            await asyncio.sleep(0.05)
