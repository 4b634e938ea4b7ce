"""What runs on this machine, read from /proc, for tests that kill and count."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 30.0


def of(data_dir: Path) -> set[int]:
    """Living processes that name the data directory in their command line or work inside it; not this one."""
    return {pid for pid in _pids() if pid != os.getpid() and _belongs(pid, str(data_dir))}


def named(data_dir: Path, word: str) -> set[int]:
    """Those of them whose program's file name is `word`."""
    return {pid for pid in of(data_dir) if program(pid) == word}


def servers(data_dir: Path, word: str) -> set[int]:
    """The servers themselves, without the processes that they start: their parent is a keeper."""
    held_by = keepers(data_dir)
    return {pid for pid in named(data_dir, word) if parent(pid) in held_by}


def keepers(data_dir: Path) -> set[int]:
    return {pid for pid in of(data_dir) if "keeper.py" in command(pid)}


def children(pid: int) -> set[int]:
    return {other for other in _pids() if parent(other) == pid}


def parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def alive(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] not in {"Z", "X"}


def stopped(pid: int) -> bool:
    return _stat(pid)[:1] == ["T"]


def program(pid: int) -> str:
    return Path(command(pid).partition(" ")[0]).name


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def end(pids: set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def soon(condition: Callable[[], object], within_s: float = PATIENCE_S) -> bool:
    """As `until`, for a test on the loop."""
    return await asyncio.to_thread(until, condition, within_s)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _belongs(pid: int, path: str) -> bool:
    if not alive(pid):
        return False
    try:
        works_in = str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        works_in = ""
    return f"{works_in}/".startswith(path + "/") or f"{path}/" in command(pid).replace(" ", "/")


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
