"""A client of `citadel.v1` on a library that is not ours, which holds every message to the published schema."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

from jsonschema import Draft202012Validator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from citadel_edge.config.shape import ListenerName
from edges import Served

STREAMING = ListenerName.STREAMING


class Talk:
    """One connection. `heard` are all messages so far."""

    def __init__(self, socket: ClientConnection, validator: Draft202012Validator) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []
        self._validator = validator
        self._names = count(1)

    async def say(self, message: str | bytes | Mapping[str, Any]) -> None:
        await self.socket.send(json.dumps(message) if isinstance(message, Mapping) else message)

    async def hear(self, timeout_s: float = 10) -> dict[str, Any]:
        """The next message; ConnectionClosed when there is none."""
        text = await asyncio.wait_for(self.socket.recv(), timeout_s)
        assert isinstance(text, str)
        message = json.loads(text)
        self._validator.validate(message)
        self.heard.append(message)
        return message

    async def ask(self, message: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
        """Say it; the next message."""
        await self.say(message)
        return await self.hear()

    async def chat(self, request: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """Begin one; its `ack`, or why there is none."""
        return await self.ask({"id": f"chat-{next(self._names)}", "type": "chat", "request": request, **fields})

    async def closed(self) -> Close:
        """Hear all there is; the close frame that ends it."""
        with suppress(ConnectionClosed):
            while True:
                await self.hear()
        assert self.socket.protocol.close_rcvd is not None, "the connection was cut"
        return self.socket.protocol.close_rcvd

    async def rest(self, identity: str) -> list[dict[str, Any]]:
        """All messages of an operation that have not been heard yet, up to its last."""
        found = []
        while not found or not is_last(found[-1]):
            message = await self.hear()
            if message["id"] == identity:
                found.append(message)
        return found


def is_last(message: Mapping[str, Any]) -> bool:
    """Whether nothing comes after it in its operation."""
    return message["type"] == "done" or "outcome" in message


def text_of(messages: list[dict[str, Any]]) -> str:
    """What tokens say, by their chunks; their own `text` has to say the same."""
    tokens = [message for message in messages if message["type"] == "token"]
    deltas = [choice["delta"] for token in tokens for chunk in token["chunks"] for choice in chunk["choices"]]
    text = "".join(delta.get("content") or "" for delta in deltas)
    assert text == "".join(token["text"] for token in tokens)
    return text


@asynccontextmanager
async def talking(served: Served, who: Mapping[str, str], **options: Any) -> AsyncIterator[Talk]:
    """A connection to the edge."""
    async with served.client.get(served.url("/v1/ws/schema", STREAMING)) as answer:
        document = await answer.json(content_type="application/schema+json")
    validator = Draft202012Validator({**document, "anyOf": [{"$ref": "#/$defs/FromServer"}]})
    url = served.url("/v1/ws", STREAMING).replace("http", "ws")
    options = {"subprotocols": ["citadel.v1"], **options}
    async with connect(url, additional_headers=dict(who), **options) as socket:
        yield Talk(socket, validator)


async def whole_text(served: Served, request: Mapping[str, Any]) -> str:
    """What the model says to this, as another door tells it."""
    url = served.url("/v1/chat/completions", ListenerName.ROUTING)
    async with served.client.post(url, json={**request, "stream": False}, headers=served.as_user()) as answer:
        assert answer.status == 200, await answer.text()
        return (await answer.json())["choices"][0]["message"]["content"]
