"""The data directory: made, locked, divided.

Decides who owns it: one edge at a time, by a lock that the kernel drops with its holder. Refuses to know what the parts
keep in their folders. Everything here blocks on the disk; call it in a thread.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from citadel_edge.errors import StartError

LOCK_NAME = "edge.lock"
LOGS = "logs-embedded"
RUN = "run"


@dataclass(frozen=True, slots=True)
class DataDir:
    """A locked data directory; `path` is absolute."""

    path: Path

    def folder(self, name: str) -> Path:
        """A private folder inside it, made when it is not there.

        Raises:
            StartError: it cannot be made.
        """
        folder = self.path / name
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StartError(f"cannot make {folder}: {error.strerror}") from error
        return folder

    def log(self, part: str) -> Path:
        """Where a part's output goes. Does not touch the disk."""
        return self.path / LOGS / f"{part}.log"

    def lock(self, part: str) -> Path:
        """The lock file of a part's processes. Does not touch the disk."""
        return self.path / RUN / f"{part}.lock"


@contextmanager
def locked(data_dir: Path) -> Iterator[DataDir]:
    """Make `data_dir` (mode 0700) where it is missing and hold it for this process alone.

    Raises:
        StartError: another process holds it, or it cannot be made or written.
    """
    path = data_dir.absolute()
    lock = _open(path)
    with lock:
        _hold(lock, path)
        data = DataDir(path)
        for name in (LOGS, RUN):
            data.folder(name)
        yield data


def _open(path: Path) -> BinaryIO:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.fdopen(os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
    except OSError as error:
        raise StartError(
            f"cannot use the data directory {path}: {error.strerror}; "
            f"give user {os.geteuid()} the right to write there or set data_dir to another place"
        ) from error


def _hold(lock: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = lock.read(32).decode(errors="replace").strip() or "unknown"
        raise StartError(
            f"the data directory {path} is in use by process {holder}; stop that edge or set data_dir to another place"
        ) from None
    lock.truncate(0)
    lock.seek(0)
    lock.write(f"{os.getpid()}\n".encode())
