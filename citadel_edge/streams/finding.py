"""A stream is found where it is: in this process, followed by it, or in the log.

Decides where a reader gets its events from. Refuses to know where it stands.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import Struct

from citadel_edge.errors import RedisUnavailable
from citadel_edge.streams.faces import log_is_away, unknown_stream
from citadel_edge.streams.feed import Feed
from citadel_edge.streams.follow import Follows
from citadel_edge.streams.infos import info_here, info_there
from citadel_edge.streams.live import Live
from citadel_edge.streams.messages import Record
from citadel_edge.streams.names import slot_of
from citadel_edge.streams.older import fetched
from citadel_edge.streams.reader import Reader
from citadel_edge.streams.shelf import Shelf
from citadel_edge.streams.store import Store
from citadel_edge.streams.values import Info, Owner

MOST_ELSEWHERE: Final = 1000
"""So many streams of other instances are looked at, to tell those that run."""


class Found(Struct, frozen=True):
    """A stream: its events as far as they are in memory, how it is, and which cursors are good."""

    feed: Feed
    info: Info
    known: dict[str, int | None]


class Finding:
    """Looks for streams. Raises RequestError: NOT_FOUND, or NO_CAPACITY where Redis is away and has to be asked."""

    def __init__(
        self, store: Store, shelf: Shelf, follows: Follows, *, away_s: float, hold: Callable[[int], None]
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._follows = follows
        self._away_s = away_s
        self._hold = hold

    async def find(self, stream: str, may: Callable[[Owner], bool]) -> Found:
        """A stream to be read, if its owner's streams may be seen."""
        live = self._own(stream, may)
        if live is None:
            record = await self._look(stream, may)
            live = self._own(stream, may)  # it may have become ours meanwhile
            if live is None:
                return Found(self._feed(stream, record), self._info(stream, record), record.epochs.known)
        return Found(live.feed, info_here(live), live.feed.cursors())

    async def info(self, stream: str, may: Callable[[Owner], bool]) -> Info:
        """How it is."""
        live = self._own(stream, may)
        return info_here(live) if live is not None else self._info(stream, await self._look(stream, may))

    async def running(self, may: Callable[[Owner], bool]) -> tuple[list[Info], bool]:
        """What is being produced, here and by others; False beside it: these are not all that there may be."""
        here = [info_here(live) for live in self._shelf if live.terminal is None and may(live.owner)]
        try:
            leased = await self._store.leased(MOST_ELSEWHERE)
            elsewhere = [stream for stream in leased if self._shelf.get(stream) is None]
            asked = elsewhere[:MOST_ELSEWHERE]
            records = await asyncio.gather(*map(self._store.look, asked))
        except RedisUnavailable:
            return here, False
        found = [
            self._info(stream, record)
            for stream, record in zip(asked, records, strict=True)
            if record is not None and record.terminal is None and may(record.head.owner)
        ]
        return [*here, *found], len(leased) < MOST_ELSEWHERE

    def reader(self, found: Found, after: int, lost: tuple[int, int] | None = None) -> Reader:
        """Reads it; no await may stand between `find` and this."""
        stream = found.info.id
        reader = Reader(found.feed, partial(fetched, self._store, stream, self._away_s), after=after, lost=lost)
        if not found.info.here and found.info.terminal is None and self._follows.feed_of(stream) is None:
            self._follows.start(stream, found.feed)
        return reader

    def _own(self, stream: str, may: Callable[[Owner], bool]) -> Live | None:
        live = self._shelf.get(stream)
        if live is not None and not may(live.owner):
            raise unknown_stream(stream)
        return live

    async def _look(self, stream: str, may: Callable[[Owner], bool]) -> Record:
        if slot_of(stream) is None:
            raise unknown_stream(stream)
        try:
            record = await self._store.look(stream)
        except RedisUnavailable:
            raise log_is_away() from None
        if record is None or not may(record.head.owner):
            raise unknown_stream(stream)
        return record

    def _feed(self, stream: str, record: Record) -> Feed:
        known = self._follows.feed_of(stream)
        if known is not None:
            return known
        feed = Feed(record.epochs.now, hold=self._hold)
        feed.change_epoch(record.epochs.now, record.epochs.known)
        feed.restart(record.last + 1)
        feed.floor = record.first
        feed.show(record.last, record.terminal)
        return feed

    def _info(self, stream: str, record: Record) -> Info:
        feed = self._follows.feed_of(stream)
        return info_there(stream, record, readers=0 if feed is None else feed.readers)
