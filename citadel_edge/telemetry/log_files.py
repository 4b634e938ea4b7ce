"""Log files that others may rotate under us, and that may fail without anyone waiting or falling.

Decides when a file is opened anew: at most once a second it is asked whether the path still leads to the file that is
open (rename, delete), and `reopen` does it at once; appending (O_APPEND) makes copy-and-truncate safe. A line is one
`write`, into the page cache. When it fails (disk full, no permission) the line is counted as lost, the first loss and
the recovery are reported, and the work goes on. Refuses to know what a line says.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from citadel_edge.config.shape import ListenerName
from citadel_edge.telemetry.clock import Clock

_LOOK_EVERY_S: Final = 1.0
_EDGE: Final = "citadel-edge"

Report = Callable[[str, dict[str, object]], None]


class LogFile:
    """One file. `report(event, fields)` hears of the first failure and of the recovery."""

    def __init__(self, path: Path, clock: Clock, report: Report) -> None:
        self.path = path
        self.lost = 0
        self._clock = clock
        self._report = report
        self._fd: int | None = None
        self._identity: tuple[int, int] = (0, 0)
        self._look_at_s = clock.monotonic_s()
        self._failing = False
        self._torn = False
        # Re-entrant: a finalizer that logs may run in the middle of a write, on the same thread.
        self._lock = threading.RLock()

    def write(self, line: bytes) -> None:
        """Append the line, or count it as lost. Never raises OSError."""
        with self._lock:
            try:
                self._follow()
                self._append(line)
            except OSError as error:
                self._lose(error)
            else:
                self._recover()

    def reopen(self) -> None:
        """Look where the path leads at the next write."""
        with self._lock:
            self._drop()
            self._look_at_s = self._clock.monotonic_s()

    def size(self) -> int:
        """Bytes in the open file; 0 if none is open."""
        with self._lock:
            return os.fstat(self._fd).st_size if self._fd is not None else 0

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._drop()

    def _follow(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + _LOOK_EVERY_S
        if self._fd is None or not self._leads_here():
            self._drop()
            self._open()

    def _leads_here(self) -> bool:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        found = os.fstat(fd)
        self._fd, self._identity, self._torn = fd, (found.st_dev, found.st_ino), False

    def _append(self, line: bytes) -> None:
        if self._fd is None:
            raise FileNotFoundError(2, "the file could not be opened", str(self.path))
        data = b"\n" + line if self._torn else line
        written = os.write(self._fd, data)
        self._torn = written < len(data)
        if self._torn:  # the disk became full in the middle; the next line begins on a fresh one
            raise OSError(28, "the line was cut", str(self.path))

    def _lose(self, error: OSError) -> None:
        self.lost += 1
        if not self._failing:
            self._failing = True
            self._report("log file not writable", {"path": str(self.path), "error": str(error)})

    def _recover(self) -> None:
        if self._failing:
            self._failing = False
            self._report("log file writable again", {"path": str(self.path), "lines_lost": self.lost})

    def _drop(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


class LogFiles:
    """`<directory>/<listener>.log` for lines bound to a listener, `citadel-edge.log` for the rest."""

    def __init__(self, directory: Path, clock: Clock, report: Report) -> None:
        self.directory = directory
        self._edge = LogFile(directory / f"{_EDGE}.log", clock, report)
        self._files = {str(name): LogFile(directory / f"{name}.log", clock, report) for name in ListenerName}

    def write(self, line: bytes, listener: str | None) -> None:
        """Append the line to its file."""
        file = self._edge if listener is None else self._files.get(listener, self._edge)
        file.write(line)

    def reopen(self) -> None:
        """Open every file anew, each at its next line."""
        for file in self._all():
            file.reopen()

    def close(self) -> None:
        """Let all files go."""
        for file in self._all():
            file.close()

    def sizes(self) -> dict[ListenerName, int]:
        """Bytes of each listener's file."""
        return {name: self._files[name].size() for name in ListenerName}

    def lost(self) -> int:
        """Lines lost in all files."""
        return sum(file.lost for file in self._all())

    def _all(self) -> list[LogFile]:
        return [self._edge, *self._files.values()]
