"""`GET /v1/events`: live state as Server-Sent Events."""

import asyncio

import msgspec
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from citadel_edge.accounts.principal import Role
from citadel_edge.edge import EDGE
from citadel_edge.listeners.common.routes import Admission, Route
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.listeners.streaming.topics import event_of, parse_topics
from citadel_edge.streams.metrics import Transport

HEARTBEAT_S = 15.0
SEND_WITHIN_S = 30.0
RECENT = 16


class LiveEvents(EventSourceResponse):
    """aiohttp-sse's response with a heartbeat that strict clients survive: one comment line, no empty event."""

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._ping_interval)
            async with asyncio.timeout(SEND_WITHIN_S):
                await self.write(b": ping\n")


async def events(request: web.Request) -> web.StreamResponse:
    """First what happened last, then what happens; ends when the client leaves or the listener drains."""
    topics = parse_topics(request.query.get("topics", "").split(","))
    hub = request.app[EDGE].hub
    answer = LiveEvents(sep="\n", ping_interval=HEARTBEAT_S, send_timeout=SEND_WITHIN_S)
    await answer.prepare(request)
    async with answer:
        with request.app[STREAMING_METRICS].connected(Transport.SSE), hub.subscribe(topics) as subscription:
            recent = [message for topic in topics for message in hub.last(topic, RECENT)]
            for message in sorted(recent, key=lambda m: m.seq):
                await _send(answer, *event_of(message))
            async for news in subscription:
                await _send(answer, *event_of(news))
    return answer


def event_routes() -> list[Route]:
    """Operators read live state."""
    return [
        Route(
            method="GET",
            path="/v1/events",
            handler=events,
            summary="Live state as Server-Sent Events",
            role=Role.OPERATOR,
            admission=Admission.SUBSCRIPTION,
            query={"topics": "comma-separated: health, breakers, decisions, usage, limits, metrics, listeners"},
        )
    ]


async def _send(answer: LiveEvents, name: str, data: dict[str, object]) -> None:
    await answer.send(msgspec.json.encode(data).decode(), event=name)
