"""Asking every replica, again and again, whether it would serve.

Decides when to ask and what an answer means. Asks the engine's own cheap endpoint, so that a probe costs no token.
Refuses to know what follows from health: that is the table's.
"""

import asyncio
from collections.abc import Callable
from random import random
from typing import Final

from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.fleet.table import Row
from citadel_edge.telemetry.clock import Clock

_PATIENCE_S: Final = 2.0
_OK: Final = range(200, 300)
_NO_SUCH_PROBE: Final = frozenset({404, 405})  # it answers, and has another opinion about its probe's path


class Probes:
    """The worker that keeps the rows' health true."""

    def __init__(
        self,
        fleet: Fleet,
        client: UpstreamClient,
        config: Live[Config],
        *,
        clock: Clock,
        metrics: FleetMetrics,
        rng: Callable[[], float] = random,
    ) -> None:
        self._fleet = fleet
        self._client = client
        self._config = config
        self._clock = clock
        self._metrics = metrics
        self._rng = rng
        self._watched: set[Row] = set()
        self._changed = asyncio.Event()
        fleet.watch(self._changed.set)

    async def run(self) -> None:
        """Probe until cancelled: a task a row, following the fleet as it changes."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for row in self._fleet.table.rows.values():
                    if row not in self._watched:
                        self._watched.add(row)
                        group.create_task(self._watch(row), name=f"probe {row.id}")
                await self._changed.wait()

    async def _watch(self, row: Row) -> None:
        try:
            while self._fleet.table.holds(row):
                await self.probe(row)
                await asyncio.sleep(self._interval_s * (0.9 + 0.2 * self._rng()))  # so that they do not all ask at once
        finally:
            self._watched.discard(row)

    @property
    def _interval_s(self) -> float:
        return self._config.value.routing.probe_interval_s

    async def probe(self, row: Row) -> None:
        """Ask once and tell the fleet."""
        asked = self._clock.monotonic_s()
        try:
            status = await self._client.probe(
                row, dialect_of(row.engine).probe_path, timeout_s=max(_PATIENCE_S, self._interval_s)
            )
        except UpstreamError as error:
            self._failed(row, error, asked=asked)
        else:
            self._answered(row, status)
        if self._fleet.table.holds(row):
            self._metrics.probed(row.id, self._clock.monotonic_s() - asked)

    def _answered(self, row: Row, status: int) -> None:
        if status in _OK:
            self._fleet.probe_succeeded(row, "its probe succeeds")
        elif status in _NO_SUCH_PROBE:
            self._fleet.probe_succeeded(row, f"it answers; its probe is {status}: is `engine` right?")
        else:
            self._fleet.probe_failed(row, f"its probe is answered with {status}", at_once=False)

    def _failed(self, row: Row, error: UpstreamError, *, asked: float) -> None:
        refused = error.fault is UpstreamFault.REFUSED
        if refused or row.answered_at < asked:  # a row too busy for its probe that answers requests is alive
            self._fleet.probe_failed(row, str(error), at_once=refused)
