"""A client, and simulators made on the spot."""

from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.server import running
from citadel_edge.wire.openai import decode_chunk
from citadel_edge.wire.sse import Decoder

MODEL = "sim-model"


class Streamed:
    """What came of one streamed answer."""

    def __init__(self, events, pending):
        self.ended = bool(events) and events[-1].data == b"[DONE]" and not pending
        self.raw = [msgspec.json.decode(event.data) for event in events if event.data != b"[DONE]"]
        self.chunks = [decode_chunk(event.data) for event in events if event.data != b"[DONE]"]
        self.choices = [choice for chunk in self.chunks for choice in chunk.choices]
        self.pieces = [
            text for choice in self.choices if (text := choice.text or (choice.delta and choice.delta.content))
        ]
        self.text = "".join(self.pieces)
        self.finish = next((choice.finish_reason for choice in self.choices if choice.finish_reason), None)
        self.usages = [chunk.usage for chunk in self.chunks]


class Client:
    """Speaks to a simulator as a router does."""

    def __init__(self, session, sim):
        self.session = session
        self.sim = sim

    def body(self, content="hello", *, prefix=None, **fields):
        messages = [{"role": "user", "content": content}]
        if prefix is not None:
            messages.append({"role": "assistant", "content": prefix})
        return {"model": self.sim.options.model, "messages": messages, **fields}

    def open(self, body, path="/v1/chat/completions", **options):
        return self.session.post(self.sim.url + path, json=body, **options)

    async def post(self, body, path="/v1/chat/completions", **options):
        async with self.open(body, path, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, path):
        async with self.session.get(self.sim.url + path) as answer:
            return answer.status, await answer.read()

    async def stream(self, body, path="/v1/chat/completions"):
        async with self.open({**body, "stream": True}, path) as answer:
            assert answer.status == 200, await answer.text()
            decoder = Decoder()
            events = [event async for chunk in answer.content.iter_any() for event in decoder.feed(chunk)]
        return Streamed(events, decoder.pending)

    async def text(self, content="hello", **fields):
        _, answer = await self.post(self.body(content, **fields))
        return answer["choices"][0]["message"]["content"]


@pytest.fixture
def simulated():
    """`async with simulated(engine=…, …) as client`: a simulator of its own, and a client of it."""

    @asynccontextmanager
    async def start(**options):
        options["engine"] = Engine(options.get("engine", "vllm"))
        async with running(SimulatorOptions(**options)) as sim, aiohttp.ClientSession() as session:
            yield Client(session, sim)

    return start
