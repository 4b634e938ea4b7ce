"""Clients of graphql-sse, in both of its modes."""

import asyncio
import json
from contextlib import asynccontextmanager

from citadel_edge.wire.sse import Decoder

EVENTS = "text/event-stream"
TOKEN = "X-GraphQL-Event-Stream-Token"


class Events:
    """The events of one answer, one after the other."""

    def __init__(self, answer):
        self.answer = answer
        self.raw = b""
        self._decoder = Decoder()
        self._found = []

    async def next(self):
        """The name and the data; None when there is no more."""
        async with asyncio.timeout(10):
            while not self._found:
                data = await self.answer.content.readany()
                self.raw += data
                if not data:
                    return None
                self._found += self._decoder.feed(data)
        event = self._found.pop(0)
        return event.event, json.loads(event.data) if event.data else None

    async def rest(self):
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def hearing(shelf, query=None, *, method="POST", who=None, status=200, **headers):
    told = {**(shelf.served.as_user() if who is None else who), "Accept": EVENTS, **headers}
    sent = {"json": {"query": query}} if method == "POST" else {"params": {"query": query} if query else None}
    async with shelf.served.client.request(method, shelf.url, headers=told, **sent) as answer:
        assert answer.status == status, await answer.text()
        if status == 200:
            assert answer.content_type == EVENTS
        yield Events(answer)


async def reserved(shelf, who=None):
    async with shelf.served.client.put(shelf.url, headers=who or shelf.served.as_user()) as answer:
        assert (answer.status, answer.content_type, answer.headers["Cache-Control"]) == (201, "text/plain", "no-store")
        return await answer.text()


async def operate(shelf, token, query, identity="1", *, method="POST", who=None):
    """The status of an operation's POST, or of its DELETE."""
    headers = {**(who or shelf.served.as_user()), TOKEN: token, "Accept": "application/json"}
    body = {"query": query, "extensions": {"operationId": identity}}
    sent = {"json": body} if method == "POST" else {"params": {"operationId": identity}}
    async with shelf.served.client.request(method, shelf.url, headers=headers, **sent) as answer:
        return answer.status
