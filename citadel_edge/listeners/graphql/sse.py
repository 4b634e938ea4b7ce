"""graphql-sse, distinct connections: one operation of any kind, answered as Server-Sent Events.

Decides the events: `next` for each word of the answer, refusals included, and one `complete` at the end, with an empty
`data` without which browsers would not hear of it. Only what another process is to have done again ends without: that
is what clients come back after. What is no GraphQL request is answered over HTTP instead.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp import web
from graphql import OperationType

from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.graph.answers import Refused, Stage
from citadel_edge.graph.preparing import KINDS, Prepared
from citadel_edge.graph.wanted import Wanted
from citadel_edge.listeners.common.leaving import ended_by_us, why_left
from citadel_edge.listeners.common.middlewares import LISTENER, LOG
from citadel_edge.listeners.common.problems import internal_error
from citadel_edge.listeners.common.routes import PASSAGE
from citadel_edge.listeners.common.sink import ClientGone, ClientStalled
from citadel_edge.listeners.common.sse import EventStream
from citadel_edge.listeners.graphql.accept import Accepts
from citadel_edge.listeners.graphql.asking import wanted_in_body, wanted_in_query
from citadel_edge.listeners.graphql.http import caller_of, refusal_answer
from citadel_edge.listeners.graphql.metrics import Transport
from citadel_edge.listeners.graphql.service import SERVICE, Caller, error_payload
from citadel_edge.streams.metrics import Transport as Carrier

COMPLETE: Final = b"event: complete\ndata: \n\n"
SLOW: Final = RequestError(Code.REQUEST_TIMEOUT, "this client took nothing for too long")
_READING: Final = frozenset({OperationType.QUERY, OperationType.SUBSCRIPTION})
_ONLY_EVENTS: Final = Accepts(whole=None, events=True)
_ENCODER: Final = msgspec.json.Encoder()


async def distinct(request: web.Request) -> web.StreamResponse:
    """`POST` or `GET /graphql` with `Accept: text/event-stream`."""
    caller = caller_of(request, Transport.SSE)
    reading = request.method == "GET"
    try:
        wanted = wanted_in_query(request) if reading else wanted_in_body(request)
        prepared = await _prepared(request, wanted, caller, reading=reading)
    except Refused as refused:
        return refusal_answer(request, refused, _ONLY_EVENTS)
    async with event_stream(request, lambda error: _last_words(error, caller.request_id)) as answer:
        try:
            await _tell(request, answer, prepared, caller)
        except ClientGone:
            raise
        except Exception:
            request.app[LOG].exception("unhandled", request_id=caller.request_id)
            await answer.say(_last_words(internal_error(), caller.request_id))
    return answer


@asynccontextmanager
async def event_stream(request: web.Request, last_words: Callable[[RequestError], bytes]) -> AsyncIterator[EventStream]:
    """An answer of events, inside. A client whom we end, or who takes nothing, is parted with in words."""
    edge, listener = request.app[EDGE], request.app[LISTENER]
    answer = EventStream(budget=edge.budgets[listener])
    with edge.stream_metrics.of(listener).connected(Carrier.SSE) as connection:
        try:
            await answer.prepare(request)
            async with answer:
                yield answer
        except asyncio.CancelledError as error:
            connection.left = why_left(error)
            if not answer.prepared:
                raise
            if not await answer.part(last_words(ended_by_us(error))):
                raise error from None
        except ClientStalled as error:
            connection.left = why_left(error)
            told = await answer.part(last_words(SLOW))
            request.app[LOG].info("slow reader closed", request_id=request[PASSAGE].request_id, told=told)


def next_event(payload: Mapping[str, Any]) -> bytes:
    """One word of an answer."""
    return b"event: next\ndata: %b\n\n" % _ENCODER.encode(payload)


async def _prepared(request: web.Request, wanted: Wanted, caller: Caller, *, reading: bool) -> Prepared | Refused:
    """The operation, or a refusal that is told as an event. Raises Refused for one that HTTP itself refuses."""
    try:
        return await request.app[SERVICE].prepare(wanted, caller, allowed=_READING if reading else KINDS)
    except Refused as refused:
        if refused.stage is Stage.REQUEST or refused.status == Code.METHOD_NOT_ALLOWED.status:
            raise
        return refused


async def _tell(request: web.Request, answer: EventStream, prepared: Prepared | Refused, caller: Caller) -> None:
    if isinstance(prepared, Refused):
        await answer.say(next_event(prepared.answer(caller.request_id).payload()))
    else:
        async with aclosing(request.app[SERVICE].words(prepared, caller)) as words:
            async for word in words:
                if word.elsewhere:
                    await answer.conclude()
                    return
                await answer.say(next_event(word.payload))
    await answer.conclude(COMPLETE)


def _last_words(error: RequestError, request_id: str) -> bytes:
    return next_event(error_payload(error, request_id)) + COMPLETE
