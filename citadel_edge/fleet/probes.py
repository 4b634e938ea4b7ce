"""Asking every replica, again and again, whether it would serve.

Decides when to ask and what an answer means. Asks the engine's own cheap endpoint, so that a probe costs no token. A
healthy replica that does not answer is asked again at once, so that a frozen one is found out in two short waits; any
byte that a call of it brings meanwhile shows that it is only busy. One whose calls are overdue is asked out of turn.
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
from citadel_edge.fleet.row import Row
from citadel_edge.fleet.scrapes import Due, Scrapes
from citadel_edge.telemetry.clock import Clock

PATIENCE_S: Final = 0.75  # twice this and one interval: a frozen row is known after 2.5 s at the default
LONG_PATIENCE_S: Final = 2.0
LOOK_EVERY_S: Final = 0.25
STALLED_S: Final = 1.0
_SLOW: Final = 2.0  # so many times what its probes take of late
_REMEMBERED: Final = 0.8  # of a slow probe, at the next
_LATE_S: Final = 0.25  # so much later than asked for, the waiting itself was held up
_OK: Final = range(200, 300)
_NO_SUCH_PROBE: Final = frozenset({404, 405})  # it answers, and has another opinion about its probe's path


class Watch:
    """What the prober keeps of one row: when its pages are due, and whether it was asked out of turn."""

    __slots__ = ("due", "excused", "hurried", "wake")

    def __init__(self) -> None:
        self.due = Due()
        self.wake = asyncio.Event()
        self.hurried = False
        self.excused = False


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
        self._scrapes = Scrapes(fleet, client, clock=clock, metrics=metrics)
        self._watched: dict[Row, Watch] = {}
        self._changed = asyncio.Event()
        fleet.watch(self._changed.set)

    async def run(self) -> None:
        """Probe until cancelled: a task a row, following the fleet as it changes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(), name="look for stalls")
            while True:
                self._changed.clear()
                for row in self._fleet.table.rows.values():
                    if row not in self._watched:
                        watch = self._watched[row] = Watch()
                        group.create_task(self._watch(row, watch), name=f"probe {row.id}")
                await self._changed.wait()

    async def _watch(self, row: Row, watch: Watch) -> None:
        try:
            while self._fleet.table.holds(row):
                if await self.probe(row, watch):
                    await self._pause(watch)
        finally:
            del self._watched[row]

    async def _pause(self, watch: Watch) -> None:
        """An interval, a little more or less so that they do not all ask at once; shorter when it is woken."""
        watch.wake.clear()
        try:
            async with asyncio.timeout(self._interval_s * (0.9 + 0.2 * self._rng())):
                await watch.wake.wait()
        except TimeoutError:
            watch.hurried = False

    async def _look(self) -> None:
        """Wake the probes of rows whose calls are overdue, once an interval each."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = self._clock.monotonic_s()
            for row, watch in self._watched.items():
                if not watch.hurried and row.in_flight and row.healthy and row.stalled_s(now) > STALLED_S:
                    watch.hurried = True
                    watch.wake.set()

    @property
    def _interval_s(self) -> float:
        return self._config.value.routing.probe_interval_s

    async def probe(self, row: Row, watch: Watch) -> bool:
        """Ask once and tell the fleet. False when it should be asked again at once."""
        asked = self._clock.monotonic_s()
        patience_s = self._patience_s(row)
        try:
            status = await self._client.probe(row, dialect_of(row.engine).probe_path, timeout_s=patience_s)
        except UpstreamError as error:
            self._took(row, self._clock.monotonic_s() - asked)
            return self._failed(row, watch, error, asked=asked, patience_s=patience_s)
        seconds = self._clock.monotonic_s() - asked
        self._took(row, seconds)
        row.probe_s = max(seconds, _REMEMBERED * row.probe_s)
        watch.excused = False
        self._answered(row, status, asked)
        return not row.healthy or await self._scrapes.look(row, watch.due)

    def _patience_s(self, row: Row) -> float:
        """Short for a row that answers quickly as a rule; long for one that is slow by nature, or not in use anyway."""
        if not row.healthy:
            return LONG_PATIENCE_S
        return min(LONG_PATIENCE_S, max(PATIENCE_S, _SLOW * row.probe_s))

    def _took(self, row: Row, seconds: float) -> None:
        if self._fleet.table.holds(row):
            self._metrics.probed(row.id, seconds)

    def _answered(self, row: Row, status: int, asked: float) -> None:
        if status in _OK:
            self._fleet.probe_succeeded(row, "its probe succeeds")
        elif status in _NO_SUCH_PROBE:
            self._fleet.probe_succeeded(row, f"it answers; its probe is {status}: is `engine` right?")
        else:
            self._fleet.probe_failed(row, f"its probe is answered with {status}", at_once=False, asked=asked)

    def _failed(self, row: Row, watch: Watch, error: UpstreamError, *, asked: float, patience_s: float) -> bool:
        """Whether to wait before the next: not after the first silence of a healthy row."""
        refused = error.fault is UpstreamFault.REFUSED
        silent = error.fault is UpstreamFault.CONNECT_TIMEOUT
        if not refused and max(row.answered_at, row.last_byte_at) >= asked:
            return not silent  # a row too busy for its probe whose calls go on is alive; but do they still?
        if silent and not watch.excused and self._clock.monotonic_s() - asked > patience_s + _LATE_S:
            watch.excused = True
            return False  # this loop was held up: perhaps the answer lies here unread
        was = row.healthy
        self._fleet.probe_failed(row, str(error), at_once=refused, asked=asked)
        return not (silent and was and row.healthy)
