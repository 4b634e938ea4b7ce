"""What the control socket may ask of the running process."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import citadel_edge
from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import Edge
from citadel_edge.health.verdict import ListenerState
from citadel_edge.listeners.common.door import Door
from citadel_edge.process.reload import Reloader


@dataclass(frozen=True, slots=True)
class ProcessControls:
    """Implements `control.server.Controls` over the edge and its doors."""

    edge: Edge
    doors: Mapping[ListenerName, Door]
    reloader: Reloader

    async def status(self) -> dict[str, Any]:
        """The process and its four listeners."""
        board = self.edge.board
        return {
            "version": citadel_edge.__version__,
            "uptime_s": round(board.uptime_s(), 1),
            "listeners": [await self.listener_status(name) for name in ListenerName],
            "checks": {
                name: {"status": c.condition.value, "detail": c.detail, "latency_ms": c.latency_ms}
                for name, c in board.checks().items()
            },
        }

    async def start(self, name: ListenerName) -> dict[str, Any]:
        """Take work again."""
        self.edge.set_state(name, ListenerState.RUNNING)
        return await self.listener_status(name)

    async def stop(self, name: ListenerName) -> dict[str, Any]:
        """Keep the port, refuse new work; what is under way finishes."""
        self.edge.set_state(name, ListenerState.STOPPED)
        return await self.listener_status(name)

    async def listener_status(self, name: ListenerName) -> dict[str, Any]:
        """One listener: state, health, address and what it holds."""
        verdict = self.edge.board.verdict(name)
        return {
            "name": name.value,
            "state": self.edge.board.states[name].value,
            "status": verdict.status.value,
            "message": verdict.message,
            "url": self.doors[name].url,
            **self.edge.budgets[name].snapshot(),
        }

    async def reload(self) -> dict[str, Any]:
        """Read the configuration anew."""
        return dict(await self.reloader.reload())

    async def attach(self, name: ListenerName) -> AsyncGenerator[str, None]:
        """The listener's log lines from now on."""
        async with self.edge.logs.tap(name.value) as lines:
            async for line in lines:
                yield line.decode().rstrip()
