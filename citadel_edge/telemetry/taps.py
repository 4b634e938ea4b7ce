"""Log lines as they are written, for those who look on (`citadel-edge listener attach`).

Decides what a slow onlooker loses: the oldest lines, and a line in their place says how many. Costs a writer one look
at an empty tuple when nobody looks on. Refuses to know how lines are made.
"""

import asyncio
import threading
from collections import deque
from types import TracebackType
from typing import Self

import msgspec


class Tap:
    """One onlooker: `async with logs.tap(listener) as lines: async for line in lines`; JSON, each with its newline."""

    def __init__(self, taps: "Taps", listener: str | None, *, size: int) -> None:
        self._taps = taps
        self._listener = listener
        self._lines: deque[bytes] = deque(maxlen=size)
        self._lost = 0
        self._closed = False
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._taps.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taps.remove(self)
        self._closed = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._lines:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            if not self._lines and not self._closed:  # a thread may have brought one meanwhile
                await self._wake.wait()
        if self._lost:
            lost, self._lost = self._lost, 0
            return msgspec.json.encode({"event": "log lines skipped", "level": "warning", "count": lost}) + b"\n"
        return self._lines.popleft()

    def offer(self, line: bytes, listener: str | None) -> None:
        """Take a line if it is of the listener looked at. From any thread."""
        if self._listener is not None and listener != self._listener:
            return
        if len(self._lines) == self._lines.maxlen:
            self._lost += 1
        self._lines.append(line)
        self._rouse()

    def close(self) -> None:
        """No more will come: the iteration ends after what waits."""
        self._closed = True
        self._rouse()

    def _rouse(self) -> None:
        if self._loop is None or self._wake.is_set():
            return
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the onlooker's loop has ended
            self._taps.remove(self)


class Taps:
    """All onlookers. The tuple is replaced, never changed, so that any thread may walk it."""

    def __init__(self) -> None:
        self._all: tuple[Tap, ...] = ()
        self._lock = threading.RLock()

    def __bool__(self) -> bool:
        return bool(self._all)

    def offer(self, line: bytes, listener: str | None) -> None:
        """Show a line to everyone whom it concerns."""
        for tap in self._all:
            tap.offer(line, listener)

    def add(self, tap: Tap) -> None:
        """Someone looks on from now."""
        with self._lock:
            self._all = (*self._all, tap)

    def remove(self, tap: Tap) -> None:
        """Someone has gone."""
        with self._lock:
            self._all = tuple(other for other in self._all if other is not tap)

    def close(self) -> None:
        """Everyone's lines end here."""
        for tap in self._all:
            tap.close()
