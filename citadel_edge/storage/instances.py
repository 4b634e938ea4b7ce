"""How many instances of this product share one Redis: each says every few seconds that it lives.

Decides when an instance counts as gone: when it was silent for `SILENT_S`, by the server's clock, so that the clocks of
machines may differ. While Redis is away the last count holds: what is shared by four does not become one's own because
nobody can be counted. Refuses to know what follows from the number.
"""

import asyncio
from contextlib import suppress
from typing import Final

from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.redis_pool import RedisPool

KEY: Final = "citadel:instances"
BEAT_S: Final = 2.0
SILENT_S: Final = 10.0
LAST_WORDS_S: Final = 0.5
_BEAT: Final = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
redis.call('EXPIRE', KEYS[1], 2 * tonumber(ARGV[2]))
return redis.call('ZCARD', KEYS[1])"""


class Instances:
    """This process among its peers. `run` is its worker.

    Attributes:
        alive: instances that lived when they were counted last, this one included; 1 before the first count.
    """

    def __init__(self, redis: RedisPool, *, identity: str, log: FilteringBoundLogger) -> None:
        self._redis = redis
        self._identity = identity
        self._log = log
        self.alive = 1

    async def run(self) -> None:
        """Live until cancelled; the others are told of the end."""
        try:
            while True:
                with suppress(RedisUnavailable):
                    await self.beat()
                await asyncio.sleep(BEAT_S)
        finally:
            with suppress(RedisUnavailable, TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._redis.call("ZREM", KEY, self._identity)

    async def beat(self) -> None:
        """Say that this one lives, and count. Raises `RedisUnavailable`."""
        found = await self._redis.call("EVAL", _BEAT, 1, KEY, self._identity, int(SILENT_S))
        alive = max(1, int(found))
        if alive != self.alive:
            self._log.info("instances", alive=alive, were=self.alive)
        self.alive = alive
