"""The one Redis pool.

Decides how long a call may take and who fails at once because the server is known to be away. Opens without a server
and comes back by itself. Refuses to know any command's meaning.

A command is sent at most once. After `RedisUnavailable` its outcome is unknown if it may have been sent.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from redis.asyncio.connection import RedisSSLContext
from structlog.typing import FilteringBoundLogger

from citadel_edge.config.shape import RedisConfig
from citadel_edge.config.targets import RedisKind, RedisTarget
from citadel_edge.config.urls import redis_target
from citadel_edge.errors import RedisUnavailable, StartError
from citadel_edge.groups import plain_group
from citadel_edge.storage.gate import Gate
from citadel_edge.storage.patience import patience
from citadel_edge.storage.redis_lane import Lane, Pending, Watchtower, Work
from citadel_edge.storage.redis_link import link, tls_of
from citadel_edge.storage.redis_listener import RedisListener
from citadel_edge.storage.state import DependencyState, Status
from citadel_edge.telemetry.clock import Clock

LANES: Final = 4
PATIENT_LANES: Final = 2
FIRST_LOOK_S: Final = 0.25


class RedisPool:
    """A few pipelined connections to one Redis. Make it with `open`."""

    def __init__(
        self, target: RedisTarget, tls: RedisSSLContext | None, gate: Gate, *, deadline_s: float, clock: Clock
    ) -> None:
        self._target = target
        self._tls = tls
        self._gate = gate
        self._deadline_s = deadline_s
        self._clock = clock
        self._quick = Work()
        self._patient = Work()
        self._tower = Watchtower(opened=gate.open, shut=self._shut, alarmed=self._look_again)

    @classmethod
    @asynccontextmanager
    async def open(cls, config: RedisConfig, *, clock: Clock, log: FilteringBoundLogger) -> AsyncIterator["RedisPool"]:
        """A pool that keeps connecting behind its callers. Never fails because of the server."""
        target = redis_target(config)
        if target.kind is RedisKind.EMBEDDED:
            raise StartError("redis.url is 'embedded', but no embedded Valkey was started for it")
        gate = Gate(RedisUnavailable, f"Redis at {target.label}", log)
        tls = await asyncio.to_thread(tls_of, target)
        pool = cls(target, tls, gate, deadline_s=config.deadline_ms / 1000, clock=clock)
        async with plain_group() as group:
            lanes = [group.create_task(lane.run(), name="redis lane") for lane in pool._lanes(log)]
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(FIRST_LOOK_S):
                        await gate.known.wait()
                yield pool
            finally:
                for lane in lanes:
                    lane.cancel()

    async def call(self, *args: Any, deadline_s: float | None = None) -> Any:
        """Run one command, as `call("SET", key, b"value", "EX", 60)`; answers RESP3 values, texts as bytes.

        Calls of one turn of the loop travel together. A deadline longer than the pool's goes over connections of its
        own, so that it holds up nobody; commands that block on purpose do not belong here.

        Raises:
            RedisUnavailable: the server is away, or had not answered after `deadline_s` seconds.
            redis.exceptions.ResponseError: the command is wrong (`NoScriptError`, a wrong type, …).
        """
        self._gate.pass_through()
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        pending = Pending(args, limit_s, self._gate.label)
        (self._quick if limit_s <= self._deadline_s else self._patient).put(pending)
        try:
            async with patience(limit_s):
                return await pending.reply
        except TimeoutError:
            words = f"{self._gate.label} did not answer within {limit_s * 1000:g} ms"
            raise RedisUnavailable(words) from None

    async def publish(self, channel: str, data: bytes | str) -> int:
        """Publish to a channel; answers how many heard it on the server that was asked."""
        return int(await self.call("PUBLISH", channel, data))

    async def check(self) -> DependencyState:
        """How the server is now. Raises nothing."""
        started = self._clock.monotonic_s()
        try:
            await self.call("PING")
        except RedisUnavailable as error:
            return DependencyState(Status.DOWN, str(error), outages=self._gate.outages)
        latency_ms = (self._clock.monotonic_s() - started) * 1000
        return DependencyState(Status.UP, self._gate.reason, latency_ms, self._gate.outages)

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
        return RedisListener(self._target, channel, on_message, on_subscribed, on_lost, tls=self._tls)

    def _lanes(self, log: FilteringBoundLogger) -> list[Lane]:
        return [
            Lane(link(self._target, self._tls), work, self._tower, deadline_s=self._deadline_s, log=log)
            for work in [self._quick] * LANES + [self._patient] * PATIENT_LANES
        ]

    def _shut(self, words: str) -> None:
        self._gate.shut(f"{self._gate.label} {words}")
        self._quick.fail_all(self._gate.error)
        self._patient.fail_all(self._gate.error)

    def _look_again(self) -> None:
        self._quick.wake_all()
        self._patient.wake_all()
