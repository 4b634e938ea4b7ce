"""What a client holds in its hand when its connection ends before the stream, and where it is told to come back."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from citadel_edge.accounts.presence import Reason
from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.streaming.dialects import Dialect
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.listeners.streaming.reading import answer_with
from citadel_edge.streams.feed import Feed
from citadel_edge.streams.metrics import StreamMetrics
from citadel_edge.streams.reader import Reader, nothing_older
from citadel_edge.streams.values import State, Terminal
from citadel_edge.telemetry.clock import Clock
from citadel_edge.wire.sse import Decoder

STREAMING = ListenerName.STREAMING
DONE = Terminal(outcome=State.DONE)
HUGE = b'"%b"' % (b"x" * 2**24)
"""More than all buffers between a writer and a client that does not read."""


class Door:
    """One reader's door: what it answers with, and the tasks that do."""

    def __init__(self, edge, dialect, **reading):
        self.feed = Feed("abc")
        self.tasks = []
        self.app = web.Application()
        self.app[EDGE], self.app[LISTENER] = edge, STREAMING
        self.app[STREAMING_METRICS] = StreamMetrics(CollectorRegistry(), Clock()).of(STREAMING)
        self.app.router.add_get("/", self._answer)
        self._dialect = dialect
        self._reading = {"after": 0, **reading}

    async def _answer(self, request):
        self.tasks.append(asyncio.current_task())
        with Reader(self.feed, nothing_older, **self._reading) as reader:
            return await answer_with(request, reader, dialect=self._dialect, headers={})


@asynccontextmanager
async def asked(door):
    """The door's answer, of which nothing is read yet but its head."""
    runner = web.AppRunner(door.app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        async with aiohttp.ClientSession() as client, client.get(f"http://{host}:{port}/") as answer:
            yield answer
    finally:
        await runner.cleanup()


def said(data):
    return [(event.event, event.id, event.data) for event in Decoder(max_event_bytes=2**26).feed(data)]


@pytest.mark.parametrize("over", [True, False])
async def test_in_openai_s_dialect_a_loss_is_an_error_and_the_end(edge_with, over):
    async with edge_with(options=()) as served:
        door = Door(served.edge, Dialect.OPENAI, after=8, lost=(3, 8))
        door.feed.extend([b"{}"] * 9)
        door.feed.show(9, DONE if over else None)
        async with asked(door) as answer, asyncio.timeout(5):
            ((event, identity, data),) = said(await answer.read())
        assert (event, identity, json.loads(data)["error"]["code"]) == (None, None, "lost")


@pytest.mark.parametrize(("end", "last"), [(None, ("moved", {"after": "abc:1"})), (DONE, ("done", None))])
async def test_what_was_written_when_a_drain_came_counts_as_said(edge_with, end, last):
    async with edge_with(options=()) as served:
        budget = served.edge.budgets[STREAMING]
        before = budget.snapshot()["bytes"]
        door = Door(served.edge, Dialect.RESUMABLE)
        async with asked(door) as answer, asyncio.timeout(20):
            door.feed.extend([HUGE])
            door.feed.show(1, end)
            while budget.snapshot()["bytes"] < before + len(HUGE):
                await asyncio.sleep(0.01)
            door.tasks[0].cancel(Reason.DRAINING)
            events = said(await answer.read())
        assert [(event, identity) for event, identity, _ in events[:-1]] == [(None, "abc:1")]
        assert events[-1][0] == last[0]
        assert last[1] in (None, json.loads(events[-1][2]))
        assert budget.snapshot()["bytes"] == before
