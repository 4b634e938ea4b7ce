"""The client's side of a stream: begun late enough to answer with a status, early enough that nobody hangs up.

Decides when the 200 is sent (with the first event, at most ten seconds after the request) and when a heartbeat is due.
No task waits beside the stream: a timer looks now and then, and only a silence starts a task, for one heartbeat.
One writer at a time: a heartbeat never falls between two halves of an event, nor waits on the socket beside another.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from citadel_edge.completions.call import Sink, Spawn, spawn_uncounted
from citadel_edge.wire.sse import PING

EVENT_STREAM = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things may take towards a client, in seconds.

    Attributes:
        begin_within_s: a stream without a token is begun anyway.
        heartbeat_s: silence until a heartbeat.
        last_words_s: the last event of a stream that failed, to a client that hardly reads.
    """

    begin_within_s: float = 10.0
    heartbeat_s: float = 13.0
    last_words_s: float = 5.0


class Stage:
    """One stream's client. `begun`: the status is out."""

    def __init__(
        self,
        sink: Sink,
        *,
        pace: Pace,
        headers: Callable[[], Mapping[str, str]],
        spawn: Spawn = spawn_uncounted,
        begun: bool = False,
    ) -> None:
        self._sink = sink
        self._pace = pace
        self._headers = headers
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._writing = False
        self._group: asyncio.TaskGroup | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.Task[None] | None = None
        self.begun = begun

    @asynccontextmanager
    async def kept_warm(self) -> AsyncIterator[None]:
        """Heartbeats inside. What the body or a heartbeat raises is raised as it is."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._look_at(self._last + self._pace.begin_within_s)
                try:
                    yield
                finally:
                    self._rest()
        except BaseExceptionGroup as failed:
            first = failed.exceptions[0]
            raise first from first.__cause__

    async def write(self, data: bytes) -> None:
        """Send bytes, the status before the first ones."""
        if self._beat is not None and self._beating:
            await asyncio.wait({self._beat})
        self._writing = True
        try:
            if not self.begun:
                await self._begin()
            await self._sink.write(data)
        finally:
            self._writing = False
            self._last = self._loop.time()

    async def finish(self) -> None:
        """The last byte was written."""
        self._rest()
        await self._sink.finish()

    @property
    def _beating(self) -> bool:
        return self._beat is not None and not self._beat.done()

    async def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            await self._sink.begin(200, EVENT_STREAM, self._headers())

    def _look_at(self, when: float) -> None:
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        patience = self._pace.heartbeat_s if self.begun else self._pace.begin_within_s
        if self._writing or self._beating:  # the client is slow, not the upstream
            self._look_at(now + patience)
        elif now < self._last + patience:
            self._look_at(self._last + patience)
        elif self._group is not None:
            self._last = now
            self._beat = self._spawn(self._group, self._send_beat(), name="heartbeat")
            self._look_at(now + self._pace.heartbeat_s)

    async def _send_beat(self) -> None:
        await self._begin()
        await self._sink.write(PING)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._beat is not None:
            self._beat.cancel()
