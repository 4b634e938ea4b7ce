"""A script that runs on the Redis server.

Decides only that it is sent by its digest, and whole to a server that does not know it: a new one, a replica that was
promoted, one that forgot its scripts.
"""

import hashlib
from typing import Any

from redis.exceptions import NoScriptError

from citadel_edge.storage.redis_pool import RedisPool


class Script:
    """Lua's text, and the digest that Redis knows it by."""

    __slots__ = ("_text", "digest")

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        self.digest = hashlib.sha1(self._text, usedforsecurity=False).hexdigest().encode()

    async def run(
        self, redis: RedisPool, keys: tuple[str, ...], *args: bytes | str | int, deadline_s: float | None = None
    ) -> Any:
        """Run it once. All keys have to be in one slot; for the deadline see `RedisPool.call`.

        Raises:
            RedisUnavailable: see `RedisPool.call`.
            redis.exceptions.ResponseError: the script failed.
        """
        try:
            return await redis.call("EVALSHA", self.digest, len(keys), *keys, *args, deadline_s=deadline_s)
        except NoScriptError:
            return await redis.call("EVAL", self._text, len(keys), *keys, *args, deadline_s=deadline_s)
