"""The short memory of a pool: is the server known to be away, and why.

Decides who fails at once instead of waiting for a deadline, and says so in the log once a change. Refuses to know how
one finds out: the pools tell it.
"""

import asyncio

from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import DependencyError
from citadel_edge.storage.state import Status


class Gate:
    """Open, shut, or not yet known. While it is shut, `pass_through` raises the reason at once.

    Attributes:
        outages: how often it was shut.
    """

    def __init__(self, error: type[DependencyError], label: str, log: FilteringBoundLogger) -> None:
        self.status = Status.UNKNOWN
        self.reason = f"not connected to {label} yet"
        self.label = label
        self.opened = asyncio.Event()
        self.known = asyncio.Event()
        self.outages = 0
        self._error = error
        self._log = log

    def pass_through(self) -> None:
        """Raise what was known last, if the server is known to be away."""
        if self.status is Status.DOWN:
            raise self.error()

    def error(self) -> DependencyError:
        """The reason as an error of its own for each caller."""
        return self._error(self.reason)

    def open(self) -> None:
        """The server answered."""
        if self.status is not Status.UP:
            self._log.info(f"{self._error.dependency} answers", server=self.label)
        self.status, self.reason = Status.UP, f"connected to {self.label}"
        self.known.set()
        self.opened.set()

    def shut(self, reason: str) -> None:
        """The server is away; `reason` is for operators and carries no secret."""
        if self.status is not Status.DOWN:
            self.outages += 1
            self._log.warning(f"{self._error.dependency} is away", server=self.label, reason=reason)
        self.status, self.reason = Status.DOWN, reason
        self.known.set()
        self.opened.clear()
