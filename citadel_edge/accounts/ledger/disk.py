"""The two ways in which the ledger touches a disk: a write that ends in the page cache, and a thread that syncs.

Decides when bytes become safe from a power cut: at most `interval_s` after they were written, never on the request
path. Refuses to know what the bytes mean. Only the thread closes a descriptor it was given, so that none is closed, and
its number given to another file, under a running sync.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

_SYNC_INTERVAL_S: Final = 0.1


def write_to_page_cache(fd: int, line: bytes) -> None:
    """Append the whole line. After this the death of any process loses nothing of it.

    Raises:
        OSError: the disk is full, over its quota or broken; a part of the line may have been written.
    """
    written = os.write(fd, line)
    while written < len(line):
        written += os.write(fd, line[written:])


class Syncer:
    """A thread that syncs what was written, every 100 ms while there is anything."""

    def __init__(self, on_error: Callable[[OSError], None], *, interval_s: float = _SYNC_INTERVAL_S) -> None:
        self._on_error = on_error
        self._interval_s = interval_s
        self._dirty: dict[int, None] = {}
        self._leaving: deque[int] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-sync", daemon=True)
        self.rounds = 0

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def wrote(self, fd: int) -> None:
        """Have `fd` synced within the interval. Costs two dictionary operations."""
        self._dirty[fd] = None
        if not self._wake.is_set():
            self._wake.set()

    def close_later(self, fd: int) -> None:
        """Sync `fd` a last time and close it. It must not be used any more."""
        self._leaving.append(fd)
        self._wake.set()

    def close(self) -> None:
        """Sync and close everything, end the thread. Blocks for one sync."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(self._interval_s)
            self._wake.clear()
            self._round()
        self._round()

    def _round(self) -> None:
        leaving = [self._leaving.popleft() for _ in range(len(self._leaving))]
        while self._dirty:
            fd, _ = self._dirty.popitem()
            self._sync(fd)
        for fd in leaving:
            self._sync(fd)
            os.close(fd)
        self.rounds += 1

    def _sync(self, fd: int) -> None:
        try:
            os.fdatasync(fd)
        except OSError as error:
            self._on_error(error)
