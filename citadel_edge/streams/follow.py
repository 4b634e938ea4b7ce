"""Streams that other instances produce, and who reads them here.

One feed a stream, however many read it. It is filled when somebody waits at its end: at once when the producer's
instance says that there is news, and every second besides, as news may be missed. A reader that is behind asks the log
itself. Decides when a stream counts as gone. While somebody reads, the log is told, so that the producer knows. Refuses
to know who produces and why the log's epoch changed: what this log does not have was never true here.
"""

import asyncio
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import RedisUnavailable, RequestError
from citadel_edge.streams.faces import log_is_away, stream_is_lost
from citadel_edge.streams.feed import TAIL_BYTES, Feed
from citadel_edge.streams.messages import Part
from citadel_edge.streams.shelf import Shelf
from citadel_edge.streams.store import Store
from citadel_edge.streams.timing import Timing
from citadel_edge.telemetry.clock import Clock


class Follow:
    """One stream. `stir` says that there may be something to do."""

    __slots__ = ("feed", "looked_s", "missed_s", "news", "stir", "stream", "told_s")

    def __init__(self, stream: str, feed: Feed) -> None:
        self.stream = stream
        self.feed = feed
        self.stir = asyncio.Event()
        self.news = True
        self.looked_s = self.told_s = float("-inf")
        self.missed_s: float | None = None
        feed.on_readers = feed.on_wanted = self.stir.set


class Follows:
    """All of them."""

    def __init__(
        self,
        store: Store,
        timing: Timing,
        shelf: Shelf,
        *,
        group: asyncio.TaskGroup,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._timing = timing
        self._shelf = shelf
        self._follow_ms = round(timing.follow_s * 1000)
        self._group = group
        self._clock = clock
        self._log = log
        self._follows: dict[str, Follow] = {}

    def __len__(self) -> int:
        return len(self._follows)

    @property
    def held_bytes(self) -> int:
        """What their feeds hold."""
        return sum(follow.feed.bytes for follow in self._follows.values())

    def feed_of(self, stream: str) -> Feed | None:
        """Of a stream that is followed."""
        follow = self._follows.get(stream)
        return None if follow is None else follow.feed

    def start(self, stream: str, feed: Feed) -> None:
        """Follow a stream as long as its feed has readers."""
        follow = self._follows[stream] = Follow(stream, feed)
        self._group.create_task(self._run(follow), name="stream followed")

    def release(self, stream: str) -> Feed | None:
        """Fill its feed no more: it is produced here from now on."""
        follow = self._follows.pop(stream, None)
        if follow is None:
            return None
        follow.feed.on_readers = follow.feed.on_wanted = None
        follow.stir.set()
        return follow.feed

    def hear(self, stream: str) -> None:
        """There is news of a stream."""
        follow = self._follows.get(stream)
        if follow is not None:
            follow.news = True
            follow.stir.set()

    def distrust(self) -> None:
        """There may have been news of each."""
        for stream in self._follows:
            self.hear(stream)

    async def _run(self, follow: Follow) -> None:
        try:
            while self._goes_on(follow):
                while self._goes_on(follow) and follow.feed.readers:
                    await self._look(follow)
                    await self._wait(follow)
                await self._ask(follow, enough_bytes=0, follow_ms=0)
                if not follow.feed.readers:
                    return
                follow.told_s = float("-inf")
        except Exception:
            self._log.exception("a stream could not be followed", stream=follow.stream)
            follow.feed.fail(log_is_away)
        finally:
            if self._follows.get(follow.stream) is follow:
                del self._follows[follow.stream]
                follow.feed.on_wanted = None
                self._shelf.part_with(follow.feed)

    def _goes_on(self, follow: Follow) -> bool:
        feed = follow.feed
        return self._follows.get(follow.stream) is follow and feed.terminal is None and feed.failure is None

    async def _wait(self, follow: Follow) -> None:
        follow.stir.clear()
        if not self._goes_on(follow) or not follow.feed.readers or self._wants(follow):
            return
        try:
            async with asyncio.timeout(self._timing.look_s):
                await follow.stir.wait()
        except TimeoutError:
            follow.news = True

    def _wants(self, follow: Follow) -> bool:
        return follow.feed.wanted and follow.news

    async def _look(self, follow: Follow) -> None:
        now_s = self._clock.monotonic_s()
        tell = now_s - follow.told_s >= self._timing.tell_s
        if not self._wants(follow) and not tell:
            return
        follow.news = False
        enough = TAIL_BYTES if follow.feed.wanted else 0
        if await self._ask(follow, enough_bytes=enough, follow_ms=self._follow_ms if tell else None) and tell:
            follow.told_s = now_s

    async def _ask(self, follow: Follow, *, enough_bytes: int, follow_ms: int | None) -> bool:
        after = follow.feed.last
        try:
            part = await self._store.read(follow.stream, after=after, enough_bytes=enough_bytes, follow_ms=follow_ms)
        except RedisUnavailable:
            self._miss(follow, self._timing.away_s, log_is_away)
            return False
        if part is None:
            self._miss(follow, self._timing.gone_s, stream_is_lost)
            return False
        follow.missed_s = None
        if self._goes_on(follow):
            _take(follow, part)
        return True

    def _miss(self, follow: Follow, most_s: float, failure: Callable[[], RequestError]) -> None:
        now_s = self._clock.monotonic_s()
        follow.missed_s = now_s if follow.missed_s is None else follow.missed_s
        if now_s - follow.missed_s > most_s:
            follow.feed.fail(failure)


def _take(follow: Follow, part: Part) -> None:
    feed = follow.feed
    if part.epochs.now != feed.epoch:
        bound = part.epochs.known.get(feed.epoch, 0)
        feed.change_epoch(part.epochs.now, part.epochs.known)
        if bound is not None and feed.last > bound:
            feed.rewind(bound)
            follow.news = True
            return
    feed.floor = part.first
    if part.payloads:
        _extend(feed, part)
        follow.news = True
    if part.terminal is not None and feed.last >= part.last:
        if feed.last > part.last:
            feed.rewind(part.last)
        feed.show(feed.last, part.terminal)


def _extend(feed: Feed, part: Part) -> None:
    if part.start > feed.last + 1:
        feed.restart(part.start)
    try:
        feed.extend(part.payloads)
    except RequestError:  # nothing may be held: each reader asks the log for itself
        feed.restart(part.start + len(part.payloads))
    feed.durable = feed.last
    feed.show(feed.last)
    feed.wake()
    feed.trim(TAIL_BYTES, feed.durable)
