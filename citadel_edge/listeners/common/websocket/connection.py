"""How a WebSocket opens and how this side leaves it, whatever is spoken on it.

Decides the frames' bounds, that a client's bytes are counted, and in which words a request that we end ourselves ends.
Refuses to know the protocols.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from aiohttp import web

from citadel_edge.accounts.presence import Reason, reason_of
from citadel_edge.accounts.principal import Principal
from citadel_edge.budgets.budget import Budget
from citadel_edge.edge import EDGE
from citadel_edge.errors import Code, RequestError
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.common.protocol import DoorProtocol
from citadel_edge.listeners.common.sink import ClientGone
from citadel_edge.listeners.common.websocket.closing import Codes
from citadel_edge.listeners.common.websocket.line import Line
from citadel_edge.streams.metrics import Left

CLOSE_WITHIN_S: Final = 2.0
OFFERED: Final = "Sec-WebSocket-Protocol"
L = TypeVar("L", bound=Line)
Make = Callable[[web.WebSocketResponse, asyncio.Transport, Budget, Codes], L]


def offered(request: web.Request) -> list[str]:
    """The subprotocols that the client speaks, as it likes them best."""
    return [name.strip() for name in request.headers.get(OFFERED, "").split(",") if name.strip()]


async def accept(
    request: web.Request, make: Make[L], *, protocols: Sequence[str], codes: Codes
) -> tuple[web.WebSocketResponse, L]:
    """Shake hands, with the first of `protocols` that was offered. Raises ClientGone."""
    edge = request.app[EDGE]
    socket = web.WebSocketResponse(
        protocols=protocols,
        max_msg_size=edge.config.value.http.max_body_bytes,
        compress=False,
        autoping=False,
        autoclose=False,
        timeout=CLOSE_WITHIN_S,
    )
    await socket.prepare(request)
    if request.transport is None:
        raise ClientGone("the client left while it was let in")
    line = make(socket, request.transport, edge.budgets[request.app[LISTENER]], codes)
    if isinstance(request.protocol, DoorProtocol):
        request.protocol.on_bytes = line.came
    return socket, line


def closed(request: web.Request) -> bool:
    """Whether nothing new is begun at this listener."""
    edge = request.app[EDGE]
    return edge.draining.is_set() or edge.board.states[request.app[LISTENER]] is not ListenerState.RUNNING


async def as_now(request: web.Request, line: Line, principal: Principal) -> Principal:
    """A caller as the accounts have it at this moment: each operation is judged by that.

    Raises:
        ClientGone: the key has ended, and the connection ends with it.
        RequestError: ACCOUNTS_UNAVAILABLE.
    """
    try:
        return await request.app[EDGE].directory.holder(principal.key_id)
    except RequestError as error:
        if error.code is Code.ACCOUNTS_UNAVAILABLE:
            raise
        line.part(line.codes.key_ended, error.message)
        raise ClientGone("its key has ended") from error


async def beat(line: Line) -> None:
    """Ping until the client is gone."""
    with suppress(ClientGone):
        await line.beat()


def part_for(error: asyncio.CancelledError, request: web.Request, line: Line) -> None:
    """Say why we end it ourselves, unless that is being said already; a client that left hears nothing."""
    reason, task = reason_of(error), asyncio.current_task()
    if request.transport is None or task is None or (reason is None and line.goodbye is None):
        raise error
    while task.cancelling():
        task.uncancel()
    if reason is not None:
        line.part(line.codes.draining if reason is Reason.DRAINING else line.codes.key_ended, reason.value)


def why_closed(line: Line) -> Left:
    """Why a connection ended, for the metric."""
    if line.goodbye is not None:
        codes = line.codes
        known = {codes.draining: Left.DRAINING, codes.key_ended: Left.KEY, codes.slow: Left.SLOW}
        return known.get(line.goodbye.code, Left.CLIENT)
    if line.broken:
        return Left.PROTOCOL
    return Left.DONE if line.closed else Left.CLIENT
