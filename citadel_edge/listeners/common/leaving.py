"""Why a client's connection ended, read from what ended its handler, and what is told to a client whom we end."""

import asyncio

from citadel_edge.accounts.presence import Reason, reason_of
from citadel_edge.errors import Code, RequestError
from citadel_edge.listeners.common.sink import ClientStalled
from citadel_edge.streams.metrics import Left

_BY_REASON = {Reason.REVOKED: Left.KEY, Reason.DRAINING: Left.DRAINING}
_CODES = {Reason.REVOKED: Code.INVALID_API_KEY, Reason.DRAINING: Code.LISTENER_STOPPED}


def why_left(error: BaseException) -> Left | None:
    """What only the doors know; null where the exception's own class says enough."""
    if isinstance(error, ClientStalled):
        return Left.SLOW
    reason = reason_of(error) if isinstance(error, asyncio.CancelledError) else None
    return None if reason is None else _BY_REASON[reason]


def told_of(reason: Reason) -> RequestError:
    """What a client is told of a request that we end."""
    return RequestError(_CODES[reason], f"This request was ended: {reason.value}.", retry_after_s=1)


def ended_by_us(error: asyncio.CancelledError) -> RequestError:
    """What to tell the client of a request that we ended ourselves; the task goes on. Raised again: the client left."""
    reason, task = reason_of(error), asyncio.current_task()
    if reason is None or task is None:
        raise error
    task.uncancel()
    return told_of(reason)
