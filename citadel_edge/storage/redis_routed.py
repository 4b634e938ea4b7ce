"""Calls on their way through a cluster: to another node than was asked first, or before any node is known.

Decides how often a call may be sent on, and that one which comes before the cluster's shape is known waits for it, as
long as it may wait for an answer. Refuses to know who serves what.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from redis.exceptions import AskError, MovedError, TryAgainError

from citadel_edge.config.addresses import Address
from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.patience import patience
from citadel_edge.storage.redis_lane import Pending
from citadel_edge.storage.redis_node import Callee

MOST_HOPS: Final = 4


class Router(Protocol):
    """Who knows the nodes."""

    def redirect(self, call: "Routed", error: AskError) -> None:
        """Send a call where the error says."""


class Routed(Pending):
    """A call that may have to go on to another node.

    Attributes:
        at: the node that is asked.
        asking: it is asked for a key that is on its way there.
    """

    __slots__ = ("_cluster", "_hops", "asking", "at")

    def __init__(self, args: tuple[Any, ...], deadline_s: float, label: str, *, cluster: Router, at: Address) -> None:
        super().__init__(args, deadline_s, label)
        self.at = at
        self.asking = False
        self._cluster = cluster
        self._hops = 0

    def answer(self, reply: Any) -> None:
        """Give the caller its reply, or go where it says."""
        if not isinstance(reply, AskError) or self.reply.done():
            super().answer(reply)
        elif self._hops == MOST_HOPS:
            super().answer(TryAgainError())
        else:
            self._hops += 1
            self.asking = not isinstance(reply, MovedError)
            self._cluster.redirect(self, reply)


class Waiting:
    """Who takes calls until the shape is known, or known to be unknown: `over`."""

    def __init__(self, node_of: Callable[[Sequence[Any]], Callee], deadline_s: float) -> None:
        self.over = asyncio.Event()
        self._node_of = node_of
        self._deadline_s = deadline_s

    async def call(self, args: tuple[Any, ...], deadline_s: float | None = None) -> Any:
        """See `RedisPool.call`."""
        await self.wait(deadline_s)
        return await self._node_of(args).call(args, deadline_s)

    async def wait(self, deadline_s: float | None = None) -> None:
        """Return when it is over; raises `RedisUnavailable` if that takes too long."""
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        try:
            async with patience(limit_s):
                await self.over.wait()
        except TimeoutError:
            raise RedisUnavailable(f"the cluster did not say within {limit_s * 1000:g} ms who serves what") from None
