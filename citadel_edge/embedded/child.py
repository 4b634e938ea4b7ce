"""One child process behind its keeper, seen from the edge: started, waited for, stopped.

Decides how a child is started so that nothing of it can outlive the edge: its lock file stays locked until the last
process that came of it is gone, whoever killed whom, so whoever gets the lock knows the ground is clear. Refuses to
know what the child is, when it is ready, and whether it is started again.
"""

import asyncio
import fcntl
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from citadel_edge.embedded import keeper
from citadel_edge.errors import StartError

LOG_LIMIT_BYTES = 4 * 2**20
FORMER_WAIT_S = 15.0
FORMER_LOOK_S = 0.02
KEEPER_EXTRA_S = 2.0
LAST_WORDS_BYTES = 2048
HANDED_DOWN = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start a child.

    Attributes:
        command: program (absolute path) and arguments.
        directory: where it runs; entered under its own identity.
        log: takes its output; kept below twice `LOG_LIMIT_BYTES` across starts.
        lock: a file that the child and all that come of it hold locked.
        stop_signal: what it understands as "end in good order".
        grace_s: seconds between that and SIGKILL.
        identity: a keeper's identity (`keeper.Order`).
        clear: called with the lock held, in a thread, before the start: no former process is left then.
    """

    command: tuple[str, ...]
    directory: Path
    log: Path
    lock: Path
    stop_signal: int
    grace_s: float = 5.0
    identity: str = "self"
    clear: Callable[[], None] | None = None


class Child:
    """A running child. `await start(launch)` makes one."""

    def __init__(self, process: asyncio.subprocess.Process, grace_s: float) -> None:
        self._process = process
        self._patience_s = grace_s + keeper.BURIAL_S + KEEPER_EXTRA_S

    @property
    def keeper_pid(self) -> int:
        """The keeper's process id; the child is its only child."""
        return self._process.pid

    async def wait(self) -> int:
        """Until it has ended: its exit code, or 128 + signal; negative when the keeper itself was killed."""
        return await self._process.wait()

    def let_go(self) -> None:
        """Tell the keeper to stop the child and end; returns at once."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def stop(self) -> int:
        """Stop it in good order; bounded by the grace, then killed. Its exit code as `wait`."""
        self.let_go()
        try:
            async with asyncio.timeout(self._patience_s):
                return await self.wait()
        except TimeoutError:
            self._process.kill()
            return await self.wait()


async def start(launch: Launch) -> Child:
    """Start a child behind a keeper.

    Raises:
        StartError: a former process of this part does not go away.
        OSError: no process, no log file or no lock could be had.
    """
    with ExitStack() as stack:
        lock = stack.enter_context(await _lock(launch.lock))
        log = stack.enter_context(await asyncio.to_thread(_open_log, launch.log))
        if launch.clear is not None:
            await asyncio.to_thread(launch.clear)
        process = await asyncio.create_subprocess_exec(
            *_keeper_command(launch),
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=_environment(os.environ),
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )
    return Child(process, launch.grace_s)


def last_words(log: Path) -> str:
    """The last line a child wrote, for a message; empty when there is none. Blocks on the disk."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:300] if lines else ""


def _keeper_command(launch: Launch) -> tuple[str, ...]:
    python = (sys.executable, "-I", "-S", keeper.__file__)
    order = (str(int(launch.stop_signal)), str(launch.grace_s), launch.identity, str(launch.directory))
    return (*python, *order, *launch.command)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child may see of ours: where programs are, and no secret."""
    return {"LC_ALL": "C", "TZ": "UTC", **{name: environ[name] for name in HANDED_DOWN if name in environ}}


async def _lock(path: Path) -> BinaryIO:
    """The part's lock, once the last process of its former life has ended."""
    try:
        async with asyncio.timeout(FORMER_WAIT_S):
            while (lock := await asyncio.to_thread(_try_lock, path)) is None:  # noqa: ASYNC110 - the kernel sends no event
                await asyncio.sleep(FORMER_LOOK_S)
            return lock
    except TimeoutError:
        raise StartError(
            f"a former process still holds {path} after {FORMER_WAIT_S:.0f} s; see who with: fuser -v {path}"
        ) from None


def _try_lock(path: Path) -> BinaryIO | None:
    file = path.open("ab", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _open_log(path: Path) -> BinaryIO:
    """The log to append to; a long one is set aside first, one generation is kept."""
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab", buffering=0)
