"""`GET /graphql` as a WebSocket: how a graphql-transport-ws connection begins and ends.

An upgrade needs no key: the client shows it in `connection_init`, in time. A client that leaves, a key that is revoked
and a process that drains end all operations of a connection. Refuses to know what they do.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

from aiohttp import web

from citadel_edge.accounts.principal import Principal
from citadel_edge.edge import EDGE, Edge
from citadel_edge.errors import Code, RequestError
from citadel_edge.groups import plain_group
from citadel_edge.listeners.common.middlewares import LISTENER, LOG, bearer
from citadel_edge.listeners.common.routes import PASSAGE
from citadel_edge.listeners.common.websocket.connection import (
    accept,
    as_now,
    beat,
    closed,
    offered,
    part_for,
    why_closed,
)
from citadel_edge.listeners.common.websocket.line import Line
from citadel_edge.listeners.graphql.metrics import Transport
from citadel_edge.listeners.graphql.service import SERVICE, Caller
from citadel_edge.listeners.graphql.websocket.closing import CODES, Close
from citadel_edge.listeners.graphql.websocket.conversation import Conversation, Spawn
from citadel_edge.listeners.graphql.websocket.messages import PROTOCOL
from citadel_edge.streams.metrics import Transport as Carrier
from citadel_edge.telemetry.ids import request_id
from citadel_edge.telemetry.trace import child

INIT_WITHIN_S: Final = 3.0
_CREDENTIALS: Final = "authorization"


async def converse(request: web.Request) -> web.StreamResponse:
    """The protocol. Holds a subscription's place for as long as it is open."""
    known = await _known_by_header(request)
    wanted = offered(request)
    speaks = PROTOCOL in wanted
    # Browsers hear the close code only of a server that takes one of theirs.
    socket, line = await accept(request, Line, protocols=(PROTOCOL,) if speaks else wanted[:1], codes=CODES)
    with request.app[EDGE].stream_metrics.of(request.app[LISTENER]).connected(Carrier.WEBSOCKET) as connection:
        try:
            if speaks:
                await _talk(request, line, known)
            else:
                line.part(Close.SUBPROTOCOL_NOT_ACCEPTABLE, f"Subprotocol not acceptable: this speaks {PROTOCOL}")
                await line.close()
        finally:
            connection.left = why_closed(line)
    return socket


async def _talk(request: web.Request, line: Line, known: Principal | None) -> None:
    """From the first message to the last word."""
    edge = request.app[EDGE]
    budget = edge.budgets[request.app[LISTENER]]
    with ExitStack() as stack:

        async def let_in(payload: dict[str, Any]) -> Principal:
            principal = await _principal(request, payload, known)
            request[PASSAGE].principal = principal
            stack.enter_context(edge.presence.of(principal))
            return principal

        async with plain_group() as group:

            def spawn(work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
                return budget.spawn(group, work, name=name)

            talk = Conversation(
                line,
                request.app[SERVICE],
                let_in=let_in,
                as_now=partial(as_now, request, line),
                caller=partial(_caller, request),
                spawn=spawn,
                closed=partial(closed, request),
                log=request.app[LOG],
            )
            await _until_over(request, talk, line, spawn=spawn)


async def _until_over(request: web.Request, talk: Conversation, line: Line, *, spawn: Spawn) -> None:
    watches = [
        spawn(beat(line), name="ws heartbeat"),
        spawn(_demand_init(talk, line), name="ws init"),
        spawn(_part_at_drain(request.app[EDGE], talk, line), name="ws drain"),
    ]
    try:
        await line.hear(talk.take, talk.refuse)
    except asyncio.CancelledError as error:
        part_for(error, request, line)
    finally:
        for watch in watches:
            watch.cancel()
        talk.stop()
    await line.close()


async def _demand_init(talk: Conversation, line: Line) -> None:
    await asyncio.sleep(INIT_WITHIN_S)
    if not talk.begun:
        line.part(Close.INITIALISATION_TIMEOUT, "Connection initialisation timeout")


async def _part_at_drain(edge: Edge, talk: Conversation, line: Line) -> None:
    """What runs has the process's grace; then the client comes back elsewhere."""
    await edge.draining.wait()
    await talk.idle()
    line.part(Close.GOING_AWAY, "draining")


async def _known_by_header(request: web.Request) -> Principal | None:
    """Who shows a key with the upgrade already; a wrong one is refused there."""
    credentials = request.headers.get(_CREDENTIALS)
    return None if credentials is None else await bearer(request.app[EDGE].directory, credentials)


async def _principal(request: web.Request, payload: dict[str, Any], known: Principal | None) -> Principal:
    """Who the client is: by the payload's `Authorization`, in any case of letters, or else by the upgrade's."""
    shown = next((value for name, value in payload.items() if name.lower() == _CREDENTIALS), None)
    if isinstance(shown, str):
        return await bearer(request.app[EDGE].directory, shown)
    if known is None:
        words = 'Forbidden: send {"Authorization": "Bearer <key>"} with connection_init'
        raise RequestError(Code.INVALID_API_KEY, words)
    return await request.app[EDGE].directory.holder(known.key_id)


def _caller(request: web.Request, principal: Principal) -> Caller:
    """Of one operation: it has an id and a span of its own."""
    passage = request[PASSAGE]
    return Caller(
        principal=principal,
        request_id=request_id(request.app[EDGE].clock),
        trace=child(passage.trace.header),
        transport=Transport.WEBSOCKET,
        facts={"connection": passage.request_id},
    )
