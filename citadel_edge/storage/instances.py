"""How many instances of the edge share this Redis now.

Each keeps one entry in a sorted set, under a random name, scored with the time of its last beat; who has not been
heard of for 5 s is taken out by any other. The time is the Redis server's, so that no instance's clock matters. One
round trip a second, and one key, so that it works on a cluster.

Decides who counts as alive. Refuses to know what follows from the number.
"""

import asyncio
from contextlib import suppress
from secrets import token_hex
from typing import Final

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.redis_pool import RedisPool

KEY: Final = "citadel:instances"
BEAT_S: Final = 1.0
EXPIRY_S: Final = 5.0

_BEAT: Final = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms - ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now_ms, '+inf')
redis.call('ZADD', KEYS[1], now_ms, ARGV[1])
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


class Instances:
    """This instance's place among the others.

    Attributes:
        name: this instance's own, random.
        alive: how many there are, this one included, as Redis said with the last beat; 1 while Redis says nothing.
        last_known: the same, and what it was last while Redis says nothing: the others hardly went with it.
    """

    def __init__(self, redis: RedisPool, *, key: str = KEY, beat_s: float = BEAT_S, expiry_s: float = EXPIRY_S) -> None:
        self.name = token_hex(8)
        self.alive = 1
        self.last_known = 1
        self._redis = redis
        self._key = key
        self._beat_s = beat_s
        self._expiry_ms = round(expiry_s * 1000)

    async def run(self) -> None:
        """Beat until cancelled, then leave, so that the others need not wait for the expiry."""
        try:
            while True:
                await self.beat()
                await asyncio.sleep(self._beat_s)
        finally:
            self.alive = 1
            await self._leave()

    async def beat(self) -> None:
        """Say that this instance is alive, and hear how many are."""
        try:
            counted = await self._redis.call("EVAL", _BEAT, 1, self._key, self.name, self._expiry_ms)
        except RedisUnavailable:
            self.alive = 1
        else:
            self.alive = self.last_known = max(1, int(counted))

    async def _leave(self) -> None:
        with suppress(RedisUnavailable):  # then the entry expires
            await self._redis.call("ZREM", self._key, self.name)
