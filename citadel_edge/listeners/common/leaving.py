"""Why a client's connection ended, read from what ended its handler. For the metric alone; nothing is answered here."""

import asyncio

from citadel_edge.accounts.presence import Reason, reason_of
from citadel_edge.listeners.common.sink import ClientStalled
from citadel_edge.streams.metrics import Left

_BY_REASON = {Reason.REVOKED: Left.KEY, Reason.DRAINING: Left.DRAINING}


def why_left(error: BaseException) -> Left | None:
    """What only the doors know; null where the exception's own class says enough."""
    if isinstance(error, ClientStalled):
        return Left.SLOW
    reason = reason_of(error) if isinstance(error, asyncio.CancelledError) else None
    return None if reason is None else _BY_REASON[reason]
