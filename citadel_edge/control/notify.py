"""What the process tells the service manager: systemd's notification protocol, sd_notify(3).

Decides what is said and how often the watchdog is fed; refuses to know what being alive means: it asks. Without a
service manager everything here is silent. Nothing that the manager does can stop the process.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Self

from structlog.typing import FilteringBoundLogger

from citadel_edge.telemetry.clock import Clock

SEND_S = 1.0
READY = "READY=1"
STOPPING = "STOPPING=1"
RELOADING = "RELOADING=1"
WATCHDOG = "WATCHDOG=1"


class Notifier:
    """A line to the service manager, or to nobody.

    Attributes:
        watchdog_s: seconds after which a silent process is taken for hung; None without a watchdog.
    """

    def __init__(self, sock: socket.socket | None, *, watchdog_s: float | None, log: FilteringBoundLogger) -> None:
        self._sock = sock
        self._log = log
        self.watchdog_s = watchdog_s

    @classmethod
    def take(cls, environ: MutableMapping[str, str], *, log: FilteringBoundLogger) -> Self:
        """Read and remove the protocol's variables, so that children do not speak for the process."""
        target = environ.pop("NOTIFY_SOCKET", "")
        watchdog_s = _watchdog_s(environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", ""))
        return cls(_open(target, log), watchdog_s=watchdog_s, log=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sock is not None:
            self._sock.close()

    async def ready(self, status: str) -> None:
        """The process serves (again: also the end of a reload). `status` is one line for `systemctl status`."""
        await self.tell(READY, f"STATUS={_one_line(status)}")

    async def reloading(self, clock: Clock) -> None:
        """The configuration is being read again; `ready` follows."""
        await self.tell(RELOADING, f"MONOTONIC_USEC={int(clock.monotonic_s() * 1e6)}")

    async def stopping(self, status: str) -> None:
        """The drain has begun."""
        await self.tell(STOPPING, f"STATUS={_one_line(status)}")

    async def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        await self.tell(f"STATUS={_one_line(text)}")

    async def tell(self, *assignments: str) -> None:
        """Send one message. A manager that does not take it within a second is logged and passed over."""
        if self._sock is None:
            return
        try:
            async with asyncio.timeout(SEND_S):
                await asyncio.get_running_loop().sock_sendall(self._sock, "\n".join(assignments).encode())
        except (OSError, TimeoutError) as error:
            self._log.warning("service manager not told", message=assignments[0], error=str(error) or "timeout")

    async def feed_watchdog(self, alive: Callable[[], Awaitable[bool]]) -> None:
        """Worker: twice a period ask `alive` and, when it is true, say so. Ends at once without a watchdog."""
        while self.watchdog_s is not None:
            if await alive():
                await self.tell(WATCHDOG)
            await asyncio.sleep(self.watchdog_s / 2)


def _open(target: str, log: FilteringBoundLogger) -> socket.socket | None:
    """A connected datagram socket; `@name` is in the abstract namespace."""
    if not target:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.connect("\0" + target[1:] if target.startswith("@") else target)
    except (OSError, ValueError) as error:
        sock.close()
        log.warning("service manager not reachable", notify_socket=target, error=str(error))
        return None
    return sock


def _watchdog_s(period_us: str, pid: str) -> float | None:
    """The period, unless it is another process's or no number."""
    if not period_us.isdecimal() or int(period_us) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(period_us) / 1e6


def _one_line(text: str) -> str:
    return " ".join(text.split())
