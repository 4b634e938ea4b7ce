"""The streams that this process produces, and those it has just produced.

Decides when their events leave memory: at once when the log has everything and nobody reads; a moment later when
somebody still does; and where there is no log, after the retention, or when all that is over takes too much: the
oldest first. Refuses to know the log.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from citadel_edge.streams.feed import Feed
from citadel_edge.streams.live import Live
from citadel_edge.telemetry.clock import Clock

SWEEP_S: Final = 1.0
UNLOGGED_BYTES: Final = 256 * 2**20
"""So much memory the streams may take that are over and that the log has not, as long as Redis is away."""


class Shelf:
    """By id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lives: dict[str, Live] = {}
        self._over: dict[str, float] = {}
        self._leaving: dict[Feed, None] = {}

    def __len__(self) -> int:
        return len(self._lives)

    def __iter__(self) -> Iterator[Live]:
        return iter(self._lives.values())

    @property
    def held_bytes(self) -> int:
        """What all of them hold."""
        return sum(live.feed.bytes for live in self._lives.values()) + sum(feed.bytes for feed in self._leaving)

    def get(self, stream: str) -> Live | None:
        """One that is produced here."""
        return self._lives.get(stream)

    def add(self, live: Live) -> None:
        """It is produced here from now on."""
        self._lives[live.id] = live

    def remove(self, live: Live) -> None:
        """It is produced here no more; its events stay in memory."""
        self._lives.pop(live.id, None)
        self._over.pop(live.id, None)

    def let_go(self, live: Live) -> None:
        """The log has all of it, or its time is over."""
        self.remove(live)
        self.part_with(live.feed)

    def part_with(self, feed: Feed) -> None:
        """Nothing more comes into it: it stays a moment for those who read it."""
        feed.on_readers = None
        if feed.readers:
            self._leaving[feed] = None
            feed.on_readers = partial(self._look_after, feed)
        else:
            feed.forget()

    def _look_after(self, feed: Feed) -> None:
        if not feed.readers:
            self._leaving.pop(feed, None)
            feed.on_readers = None
            feed.forget()

    async def run(self, retention_s: Callable[[], float], ended: Callable[[Live], None]) -> None:
        """Sweep until cancelled; `ended` lets go what is not kept longer."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for live in self.sweep(retention_s(), UNLOGGED_BYTES):
                ended(live)

    def sweep(self, retention_s: float, most_bytes: int) -> list[Live]:
        """Let memory go whose time has come; answers the streams to let go.

        Args:
            retention_s: so long a stream that is over is kept.
            most_bytes: so much all of them may hold.
        """
        leaving, self._leaving = self._leaving, {}
        for feed in leaving:
            feed.on_readers = None
            feed.forget()
        now_s = self._clock.monotonic_s()
        for live in self:
            if live.terminal is not None:
                self._over.setdefault(live.id, now_s)
        over = [self._lives[stream] for stream in self._over]  # in the order of their ends
        held = sum(live.feed.bytes for live in over)
        gone = []
        for live in over:
            if held <= most_bytes and now_s - self._over[live.id] <= retention_s:
                break
            held -= live.feed.bytes
            gone.append(live)
        return gone
