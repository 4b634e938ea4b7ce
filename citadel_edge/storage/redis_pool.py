"""The one Redis pool.

Decides how long a call may take and who fails at once because the server is known to be away. Opens without a server
and comes back by itself. Refuses to know any command's meaning.

A command is sent at most once. After `RedisUnavailable` its outcome is unknown if it may have been sent.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from redis.asyncio.connection import RedisSSLContext
from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import RedisConfig
from citadel_edge.config.targets import RedisKind
from citadel_edge.config.urls import redis_target
from citadel_edge.errors import RedisUnavailable, StartError
from citadel_edge.groups import plain_group
from citadel_edge.storage.gate import Gate
from citadel_edge.storage.redis_cluster import RedisCluster
from citadel_edge.storage.redis_link import tls_of
from citadel_edge.storage.redis_listener import RedisListener
from citadel_edge.storage.redis_node import OneServer, RedisNode, Servers
from citadel_edge.storage.redis_sentinels import NamedServer
from citadel_edge.storage.state import DependencyState, Status
from citadel_edge.telemetry.clock import Clock

FIRST_LOOK_S: Final = 0.25
_SERVERS: Final[Mapping[RedisKind, Callable[..., Servers]]] = {
    RedisKind.CLUSTER: RedisCluster,
    RedisKind.SENTINEL: NamedServer,
}


class RedisPool:
    """A few pipelined connections to one Redis, or to each primary of a cluster. Make it with `open`."""

    def __init__(self, servers: Servers, tls: RedisSSLContext | None, *, clock: Clock) -> None:
        self._servers = servers
        self._node_of = servers.node_of
        self._gate = servers.gate
        self._tls = tls
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def open(cls, config: RedisConfig, *, clock: Clock, log: FilteringBoundLogger) -> AsyncIterator["RedisPool"]:
        """A pool that keeps connecting behind its callers. Never fails because of the server."""
        target = redis_target(config)
        if target.kind is RedisKind.EMBEDDED:
            raise StartError("redis.url is 'embedded', but no embedded Valkey was started for it")
        gate = Gate(RedisUnavailable, f"Redis at {target.label}", log)
        tls = await asyncio.to_thread(tls_of, target)
        servers = _SERVERS.get(target.kind, OneServer)(target, tls, gate, deadline_s=config.deadline_ms / 1000, log=log)
        async with plain_group() as group:
            running = group.create_task(servers.run(), name="redis pool")
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(FIRST_LOOK_S):
                        await gate.known.wait()
                yield cls(servers, tls, clock=clock)
            finally:
                running.cancel()

    async def call(self, *args: Any, deadline_s: float | None = None) -> Any:
        """Run one command, as `call("SET", key, b"value", "EX", 60)`; answers RESP3 values, texts as bytes.

        Calls of one turn of the loop travel together. A deadline longer than the pool's goes over connections of its
        own, so that it holds up nobody; commands that block on purpose do not belong here. On a cluster the first key
        decides who is asked; a command without one is any node's.

        Raises:
            RedisUnavailable: the server is away, or had not answered after `deadline_s` seconds.
            redis.exceptions.ResponseError: the command is wrong (`NoScriptError`, a wrong type, …).
        """
        return await self._node_of(args).call(args, deadline_s)

    async def primaries(self) -> Sequence[RedisNode]:
        """All servers that take writes, each to be asked by itself.

        Raises:
            RedisUnavailable: not all of them are known.
        """
        return await self._servers.primaries()

    async def publish(self, channel: str, data: bytes | str) -> int:
        """Publish to a channel; answers how many heard it on the server that was asked."""
        return int(await self.call("PUBLISH", channel, data))

    async def check(self) -> DependencyState:
        """How the server is now; of a cluster, the worst of them. Raises nothing."""
        latency_ms = 0.0
        try:
            for node in await self.primaries():
                started = self._clock.monotonic_s()
                await node.call(("PING",))
                latency_ms = max(latency_ms, (self._clock.monotonic_s() - started) * 1000)
        except RedisUnavailable as error:
            return DependencyState(Status.DOWN, str(error), outages=self._servers.outages)
        return DependencyState(Status.UP, self._gate.reason, latency_ms, self._servers.outages)

    async def wait_until_up(self) -> None:
        """Return when the server has answered and is not known to be away since."""
        await self._gate.opened.wait()

    async def listen(
        self, channel: str, on_message: Callable[[bytes], None], on_subscribed: Callable[[], None] | None = None
    ) -> None:
        """See `listener`; this one runs for ever."""
        await self.listener(channel, on_message, on_subscribed).run()

    def listener(
        self,
        channel: str,
        on_message: Callable[[bytes], None],
        on_subscribed: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> RedisListener:
        """A subscription on a connection of its own. `on_subscribed` is called each time it (again) hears."""
        return RedisListener(self._servers, channel, on_message, on_subscribed, on_lost, tls=self._tls)
