"""WebSockets of others' making lose their connection in the middle of an answer, resume, and have missed nothing."""

import asyncio
import json
from dataclasses import dataclass, field

import pytest
import websockets

from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from clients.cutting import lose, way_to
from clients.readers import LONGEST_WAIT_S, REQUEST, STREAMING, said

pytestmark = pytest.mark.usefixtures("full_speed")
SLOW = SimulatorOptions(timing=Timing(first_token_ms=100, decode_ms=15))
CUT_AFTER = 20  # messages
PROTOCOL = "citadel.v1"


@dataclass
class Talk:
    """What one operation said, over however many connections."""

    stream: str | None = None
    text: str = ""
    cursors: list[str] = field(default_factory=list)
    acks: list[dict] = field(default_factory=list)
    last: dict | None = None

    def take(self, message):
        assert message["id"] == 1
        self.stream = message.get("stream", self.stream)
        self.cursors += [message["cursor"]] if "cursor" in message else []
        self.text += message.get("text", "")
        self.acks += [message] if message["type"] == "ack" else []
        if message["type"] in {"done", "error"}:
            assert self.last is None
            self.last = message

    def next(self):
        """What a client says first on a new connection."""
        if self.stream is None:
            return {"id": 1, "type": "chat", "request": REQUEST}
        after = {"after": self.cursors[-1]} if self.cursors else {}
        return {"id": 1, "type": "resume", "stream": self.stream, **after}

    def assert_whole(self, text):
        assert self.text == text
        numbers = [int(each.rpartition(":")[2]) for each in self.cursors]
        assert numbers == sorted({*numbers})
        assert [each.get("recovered") for each in self.acks] == [None, "full"]
        assert (self.last["type"], self.last["outcome"]) == ("done", "done")
        assert self.last["usage"]["completion_tokens"] == REQUEST["max_tokens"]


@pytest.fixture
async def served(edge_with):
    async with edge_with(options=(SLOW,)) as served:
        yield served


async def test_the_websockets_library_resumes_behind_the_last_cursor(served):
    text, talk, heard = await said(served), Talk(), 0
    async with way_to(served.url("", STREAMING)) as way:
        address = way.url.replace("http", "ws") + "/v1/ws"
        async for socket in websockets.connect(
            address, subprotocols=[PROTOCOL], additional_headers=served.as_user(), proxy=None
        ):
            assert socket.subprotocol == PROTOCOL
            await socket.send(json.dumps(talk.next()))
            try:
                while talk.last is None:
                    talk.take(json.loads(await socket.recv()))
                    heard += 1
                    if heard == CUT_AFTER:
                        await lose(way)
            except websockets.ConnectionClosed:
                continue
            break
        await socket.close()
        assert socket.close_code == 1000
    talk.assert_whole(text)


async def test_a_page_s_socket_resumes_behind_the_last_cursor(served, node, chromium):
    text, talk = await said(served), Talk()
    args = {"key": served.keys.demo_key, "request": REQUEST}
    async with way_to(served.url("", STREAMING)) as way:
        page = node.running("browser_page.mjs", program=chromium, origin=way.url, call="readSocket", args=args)
        async with page as running, asyncio.timeout(LONGEST_WAIT_S):
            while (told := await running.hear())["name"] != "closed":
                assert told["name"] != "failed", told["message"]
                if "message" in told:
                    talk.take(told["message"])
                if len(talk.cursors) == CUT_AFTER and not way.cuts:
                    await lose(way)
    assert (told["code"], told["shown"]) == (1000, text)
    talk.assert_whole(text)
