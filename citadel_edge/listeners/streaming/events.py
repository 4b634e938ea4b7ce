"""`GET /v1/events`: live state as Server-Sent Events.

A reader without a cursor is told what happened last, then what happens; one with a cursor (`Last-Event-ID`, `?after=`)
what happened since, and whether that is all there was. A reader that takes nothing for too long is let go, with the
place to come back to; one that is merely slow is told what it missed.
"""

from collections.abc import Iterator

import msgspec
from aiohttp import web

from citadel_edge.accounts.principal import Role
from citadel_edge.edge import EDGE
from citadel_edge.errors import RequestError
from citadel_edge.listeners.common.leaving import why_left
from citadel_edge.listeners.common.live_places import Place, parse_interval, place
from citadel_edge.listeners.common.middlewares import LISTENER, LOG
from citadel_edge.listeners.common.routes import PASSAGE, Admission, Route
from citadel_edge.listeners.common.sink import ClientStalled
from citadel_edge.listeners.common.sse import EventStream
from citadel_edge.listeners.streaming.metrics import STREAMING_METRICS
from citadel_edge.listeners.streaming.topics import parse_topics, sse_events
from citadel_edge.streams.metrics import DoorMetrics, Left, Resumed, Transport
from citadel_edge.telemetry.hub import Batch, Hub, Subscription, Topic

MOST_AT_ONCE_BYTES = 64 * 2**10


async def events(request: web.Request) -> web.StreamResponse:
    """Ends when the client leaves or the listener drains."""
    hub, door = request.app[EDGE].hub, request.app[STREAMING_METRICS]
    topics = parse_topics(request.query.get("topics", "").split(","))
    every_s = parse_interval(request.query.get("interval_s"))
    begins = _place(request, hub, door, topics)
    answer = EventStream(
        budget=request.app[EDGE].budgets[request.app[LISTENER]],
        headers={"X-Citadel-Cursor": f"{hub.epoch}:{hub.seq}"},
    )
    with door.connected(Transport.SSE) as connection:
        try:
            await answer.prepare(request)
            async with answer:
                if begins.recovered:
                    await answer.say(_named("recovered", begins.told))
                with hub.subscribe(topics, after=begins.after, recent=begins.recent, metrics_every_s=every_s) as feed:
                    connection.left = await _tell(request, answer, hub, feed)
        except BaseException as error:
            connection.left = connection.left or why_left(error)
            raise
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
            query={
                "topics": "comma-separated: health, breakers, decisions, usage, limits, metrics, listeners",
                "interval_s": "how often metrics come, in seconds from 0.2 to 60; 1 when absent",
                "after": "the cursor to go on from, where a client cannot send Last-Event-ID",
            },
        )
    ]


async def _tell(request: web.Request, answer: EventStream, hub: Hub, feed: Subscription) -> Left:
    """Everything, until there will be no more; how it ended."""
    after = hub.seq
    while batch := await feed.batch():
        try:
            for piece in _pieces(hub.epoch, batch):
                await answer.say(piece)
        except ClientStalled:
            await _let_go(request, answer, f"{hub.epoch}:{batch.after}")
            return Left.SLOW
        after = batch.through
    await answer.part(_named("moved", {"after": f"{hub.epoch}:{after}"}))
    return Left.DRAINING


async def _let_go(request: web.Request, answer: EventStream, cursor: str) -> None:
    """Part with a client that takes nothing."""
    told = await answer.part(_named("closed", {"reason": "slow", "after": cursor}))
    request.app[LOG].info("slow reader closed", request_id=request[PASSAGE].request_id, after=cursor, told=told)


def _place(request: web.Request, hub: Hub, door: DoorMetrics, topics: frozenset[Topic]) -> Place:
    """Where the reader begins. Both cursors given, the header's is the newer: browsers repeat the URL as it was."""
    try:
        begins = place(hub, topics, request.headers.get("Last-Event-ID") or request.query.get("after") or None)
    except RequestError:
        door.resumed(Resumed.REFUSED)
        raise
    if begins.recovered:
        door.resumed(begins.recovered)
    return begins


def _pieces(epoch: str, batch: Batch) -> Iterator[bytes]:
    """Whole events, as many in one piece as a socket's buffer takes."""
    piece: list[bytes] = []
    size = 0
    for event in sse_events(epoch, batch):
        piece.append(event)
        size += len(event)
        if size >= MOST_AT_ONCE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


def _named(name: str, data: dict[str, object]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
