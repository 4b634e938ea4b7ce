"""Events that are not in memory any more: the log is asked, and waited for while it is away, but not for ever."""

import asyncio

from citadel_edge.errors import RedisUnavailable
from citadel_edge.storage.backoff import Backoff
from citadel_edge.streams.faces import log_is_away
from citadel_edge.streams.reader import MOST_BYTES, Older
from citadel_edge.streams.store import Store


async def fetched(store: Store, stream: str, away_s: float, first: int) -> Older:
    """The log's events from `first` on, a batch of them; none where it has lost the stream.

    Raises:
        RequestError: NO_CAPACITY: Redis is away.
    """
    pauses = Backoff(0.05, 1.0)
    try:
        async with asyncio.timeout(away_s):
            while True:
                try:
                    part = await store.read(stream, after=first - 1, enough_bytes=MOST_BYTES)
                except RedisUnavailable:
                    await asyncio.sleep(pauses.next_s())
                else:
                    return Older(first, [], first) if part is None else Older(part.start, part.payloads, part.first)
    except TimeoutError:
        raise log_is_away() from None
