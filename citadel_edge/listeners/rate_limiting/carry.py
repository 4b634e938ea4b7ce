"""A change of accounts on behalf of a client: carried to its end, and counted."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import web

from citadel_edge.accounts.once import Replay
from citadel_edge.edge import EDGE
from citadel_edge.errors import RequestError
from citadel_edge.listeners.common.middlewares import LISTENER
from citadel_edge.listeners.rate_limiting.metrics import ACCOUNTS_METRICS

T = TypeVar("T")


async def carried(request: web.Request, change: Coroutine[Any, Any, T]) -> T:
    """A change's result; it is carried to its end although the client leaves."""
    metrics = request.app[ACCOUNTS_METRICS]
    try:
        result = await request.app[EDGE].carry(change, listener=request.app[LISTENER])
    except RequestError:
        metrics.refused.inc()
        raise
    (metrics.replayed if isinstance(result, Replay) else metrics.made).inc()
    return result
