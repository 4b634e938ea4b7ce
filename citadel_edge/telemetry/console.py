"""Lines to the stream the process was given (journald, a container's pipe, a terminal, a file), without waiting for it.

Decides what happens when the reader is slow: a write that would block goes to a bounded backlog, which a thread
empties as the reader allows; when the backlog is full, new lines are dropped and counted. In the ordinary case a line
is one system call on the caller's thread and there is no other thread. A regular file has no reader to wait for and is
written to directly. Refuses to know what a line says.
"""

import io
import os
import select
import socket
import stat
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TextIO

_BACKLOG_BYTES: Final = 4 * 2**20
_PIPE_BUF: Final = 4096
_BATCH_BYTES: Final = 64 * 2**10

Send = Callable[[bytes], int]
"""Write some of the bytes and say how many; BlockingIOError when none can be written now."""


class Console(Protocol):
    """Somewhere to write lines."""

    lost: int

    def write(self, data: bytes) -> None:
        """Write a line, or count it as lost. Never waits, never raises OSError."""

    def close(self, timeout_s: float = 1.0) -> None:
        """Write out what waits, for at most `timeout_s` seconds. The stream itself stays open."""


def open_console(stream: TextIO) -> Console:
    """The console fit for this stream."""
    try:
        fd = stream.fileno()
    except (AttributeError, io.UnsupportedOperation, ValueError):
        return TextConsole(stream)
    stream.flush()
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return DirectConsole(fd)
    return BackedConsole(fd)


class TextConsole:
    """A stream without a file descriptor: an in-memory one."""

    def __init__(self, stream: TextIO) -> None:
        self.lost = 0
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Write a line."""
        try:
            self._stream.write(data.decode(errors="replace"))
        except (OSError, ValueError):  # ValueError: it was closed
            self.lost += 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Nothing waits."""


class DirectConsole:
    """A regular file."""

    def __init__(self, fd: int) -> None:
        self.lost = 0
        self._fd = fd

    def write(self, data: bytes) -> None:
        """Write a line."""
        try:
            os.write(self._fd, data)
        except OSError:
            self.lost += 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Nothing waits."""


class BackedConsole:
    """A pipe, socket or terminal, with a backlog for when its reader is slow."""

    def __init__(self, fd: int, *, backlog_bytes: int = _BACKLOG_BYTES) -> None:
        self.lost = 0
        self._send, self._release = _non_blocking(fd)
        self._fd = fd
        self._bound = backlog_bytes
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        # Re-entrant: a finalizer that logs may run in the middle of a write, on the same thread.
        self._lock = threading.RLock()

    def write(self, data: bytes) -> None:
        """Write a line now if nothing waits before it, else queue it."""
        with self._lock:
            if self._closed:
                self.lost += 1
                return
            rest = data if self._thread else self._try(data)
            if rest:
                self._keep(rest, whole=len(rest) == len(data))

    def close(self, timeout_s: float = 1.0) -> None:
        """Give the backlog `timeout_s` seconds, then drop what is left of it."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        with self._lock:
            self._drop_backlog()
            if not self._closed:
                self._closed = True
                if self._thread is None:  # else the thread lets go: it may be in the middle of a write
                    self._release()

    def _try(self, data: bytes) -> bytes:
        """What could not be written now. A stream that is gone takes everything: the lines are lost, and counted."""
        try:
            return data[self._send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            self.lost += data.count(b"\n")
            return b""

    def _keep(self, rest: bytes, *, whole: bool) -> None:
        if whole and self._backlog_bytes + len(rest) > self._bound:
            self.lost += 1
            return
        self._backlog.append(rest)
        self._backlog_bytes += len(rest)
        if self._thread is None:
            self._thread = threading.Thread(target=self._drain, name="log-backlog", daemon=True)
            self._thread.start()

    def _drain(self) -> None:
        """The thread: lives as long as there is a backlog, and writes without the lock, so that nobody waits for it."""
        writable = select.poll()
        writable.register(self._fd, select.POLLOUT)
        while True:
            writable.poll(100)
            with self._lock:
                batch = self._take()
            if not batch:
                return
            rest = self._try(batch)
            with self._lock:
                self._backlog.appendleft(rest)
                self._backlog_bytes += len(rest)

    def _take(self) -> bytes:
        """The next lines to write at once; none are left: the thread is over."""
        if self._closed:
            self._drop_backlog()
        lines: list[bytes] = []
        taken = 0
        while self._backlog and taken < _BATCH_BYTES:
            lines.append(self._backlog.popleft())
            taken += len(lines[-1])
        batch = b"".join(lines)
        self._backlog_bytes -= taken
        if not batch:
            self._thread = None
            if self._closed:
                self._release()
        return batch

    def _drop_backlog(self) -> None:
        self.lost += sum(rest.count(b"\n") for rest in self._backlog)
        self._backlog.clear()
        self._backlog_bytes = 0


def _non_blocking(fd: int) -> tuple[Send, Callable[[], None]]:
    """How to write without waiting, and how to let go again.

    The descriptor is shared with whoever started us, so its own flags stay as they are: a socket takes a flag a call, a
    pipe or a terminal is opened a second time. Where that is not allowed, poll and write no more than a pipe's atom.
    """
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        twin = socket.socket(fileno=os.dup(fd))
        return lambda data: twin.send(data, socket.MSG_DONTWAIT), twin.close
    try:
        second = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return lambda data: _poll_and_write(fd, data), lambda: None
    return lambda data: os.write(second, data), lambda: os.close(second)


def _poll_and_write(fd: int, data: bytes) -> int:
    writable = select.poll()
    writable.register(fd, select.POLLOUT)
    if not writable.poll(0):
        raise BlockingIOError
    return os.write(fd, data[:_PIPE_BUF])
