import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture
from structlog.typing import EventDict, FilteringBoundLogger

from citadel_edge.config.shape import ListenerName
from citadel_edge.control.server import Bounds, serve


class Listeners:
    """Four listeners that can be started and stopped; what the process is to the control socket."""

    def __init__(self) -> None:
        self.running = dict.fromkeys(ListenerName, True)
        self.lines: dict[ListenerName, asyncio.Queue[str | None]] = {name: asyncio.Queue() for name in ListenerName}
        self.attached = 0
        self.fault: Exception | None = None

    async def status(self) -> Mapping[str, Any]:
        if self.fault is not None:
            raise self.fault
        return {"version": "0", "listeners": {name: self._state(name) for name in ListenerName}}

    async def start(self, name: ListenerName) -> Mapping[str, Any]:
        self.running[name] = True
        return await self.listener_status(name)

    async def stop(self, name: ListenerName) -> Mapping[str, Any]:
        self.running[name] = False
        return await self.listener_status(name)

    async def listener_status(self, name: ListenerName) -> Mapping[str, Any]:
        return {"name": name, "state": self._state(name)}

    async def attach(self, name: ListenerName) -> AsyncGenerator[str, None]:
        self.attached += 1
        try:
            while (line := await self.lines[name].get()) is not None:
                yield line
        finally:
            self.attached -= 1

    async def reload(self) -> Mapping[str, Any]:
        if self.fault is not None:
            raise self.fault
        return {"applied": ["tiers"], "needs_restart": []}

    def _state(self, name: ListenerName) -> str:
        return "running" if self.running[name] else "stopped"


@pytest.fixture
def logged() -> list[EventDict]:
    return []


@pytest.fixture
def log(logged: list[EventDict]) -> FilteringBoundLogger:
    capture = LogCapture()
    capture.entries = logged
    return structlog.wrap_logger(None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(0))


@pytest.fixture
def listeners() -> Listeners:
    return Listeners()


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def served(listeners: Listeners, socket_path: Path, log: FilteringBoundLogger):
    """`async with served(bounds)`: the control socket answers."""

    @asynccontextmanager
    async def open_(bounds: Bounds | None = None) -> AsyncIterator[Path]:
        async with (
            asyncio.TaskGroup() as group,
            serve(socket_path, listeners, group=group, log=log, bounds=bounds),
        ):
            yield socket_path

    return open_


async def eventually(fact) -> None:
    """Wait until `fact()` holds; the test's own timeout is the bound."""
    async with asyncio.timeout(20):
        while not fact():
            await asyncio.sleep(0.01)


@pytest.fixture(name="eventually")
def eventually_fixture():
    return eventually
