"""What no test may leave behind or do, whatever it tests.

Four guards, wired into pytest by `conftest`: a blocking call of ours on the event loop, a task or a child process left
running, and a connection to anything but this machine. They know nothing of the product beyond the allow-list.
"""

import asyncio
import ipaddress
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blockbuster import blockbuster as detector

LOCAL_NAMES = frozenset({"", "localhost", "localhost.", "ip6-localhost"})
SETTLE_S = 2.0

ALLOWED_TO_BLOCK = (
    # file, functions, reason
    ("accounts/ledger/disk.py", ("write_to_page_cache",), "one write is the ledger's promise; the sync is in a thread"),
    (
        "telemetry/log_files.py",
        ("_append", "_open", "_leads_here"),
        "a line goes into the page cache; a look, at most now and then, notices a rotation",
    ),
    ("control/address.py", ("release",), "one unlink at the end, where a cancellation may be on its way"),
)


class BlockingWatch:
    """Blocking calls on a running loop with a frame of the package below them; remembered even when swallowed."""

    def __init__(self, package: str) -> None:
        self.seen: list[str] = []
        self._detector = detector.BlockBuster(scanned_modules=[package])
        for file, functions, _reason in ALLOWED_TO_BLOCK:
            for function in self._detector.functions.values():
                function.can_block_in(file, functions)

    @contextmanager
    def active(self) -> Iterator["BlockingWatch"]:
        """Detect until the context is left."""
        original, seen = detector.BlockingError, self.seen

        class RememberedBlockingError(original):  # type: ignore[misc, valid-type]
            def __init__(self, function: str) -> None:
                super().__init__(function)
                seen.append(f"{function} called from {_caller()}")

        detector.BlockingError = RememberedBlockingError
        self._detector.activate()
        try:
            yield self
        finally:
            self._detector.deactivate()
            detector.BlockingError = original

    def take(self) -> list[str]:
        """What was seen since the last call."""
        seen, self.seen[:] = list(self.seen), []
        return seen


def _caller() -> str:
    """Our innermost line on the stack, and the line that it called into, if another's."""
    frame = sys._getframe(2)
    while frame.f_back is not None and "citadel_edge" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


class LoopbackOnly:
    """An audit hook that refuses connections and look-ups beyond this machine. Hooks stay for ever; this one rests."""

    def __init__(self) -> None:
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if not self.on or not event.startswith("socket."):
            return
        if event in {"socket.connect", "socket.sendto", "socket.sendmsg"} and isinstance(args[1], tuple):
            self._demand_local(event, args[1][0])
        elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
            self._demand_local(event, args[0])

    def _demand_local(self, event: str, host: object) -> None:
        if not is_local(host):
            raise PermissionError(f"{event} to {host!r}: tests talk to this machine alone")


def is_local(host: object) -> bool:
    """Whether an address or name means this machine; numeric addresses are judged, other names refused."""
    if host is None:
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name.casefold() in LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


async def stray_tasks() -> list[str]:
    """Tasks of the running loop, other than the caller, that do not end by themselves within a moment."""
    me = asyncio.current_task()
    deadline = time.monotonic() + SETTLE_S
    while others := [task for task in asyncio.all_tasks() if task is not me]:
        if time.monotonic() > deadline:
            return [repr(task) for task in others]
        await asyncio.sleep(0.01)
    return []


def children() -> set[int]:
    """Direct, living children of this process, without multiprocessing's own resource tracker."""
    pids: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            pids.update(int(pid) for pid in listing.read_text().split())
        except FileNotFoundError:
            continue
    return {pid for pid in pids if _alive(pid) and b"resource_tracker" not in _command(pid)}


def stray_children(before: set[int]) -> list[str]:
    """Children that were not there `before` and do not end by themselves within a moment."""
    return _after_a_moment(lambda: [f"{pid}: {_command(pid).decode(errors='replace')}" for pid in children() - before])


def _after_a_moment(look: Callable[[], list[str]]) -> list[str]:
    deadline = time.monotonic() + SETTLE_S
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def proxy_free(environ: "os._Environ[str]") -> None:
    """Take proxies out of the environment: a client that reads it would leave this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        environ.pop(name, None)
