"""The usage ledger as the rest of the house sees it: record what was used, ask whether there is room, see the backlog.

Decides when rows are carried: 200 ms after the first one, or at 500, and after an outage in growing pauses. What
`record` was given when it returned survives the death of any process; a power cut costs at most the last 100 ms.
Refuses to know what a request is and what it costs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.ledger import table
from citadel_edge.accounts.ledger.carrier import BATCH_ROWS, Carrier
from citadel_edge.accounts.ledger.codec import encode
from citadel_edge.accounts.ledger.event import UsageEvent
from citadel_edge.accounts.ledger.folds import Folds
from citadel_edge.accounts.ledger.metrics import LedgerMetrics
from citadel_edge.accounts.ledger.quarantine import Quarantine
from citadel_edge.accounts.ledger.spool import Spool
from citadel_edge.accounts.ledger.totals import Totals
from citadel_edge.errors import Code, PostgresUnavailable, RequestError
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic

_GATHER_S: Final = 0.2
_IDLE_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.25
_LAST_PAUSE_S: Final = 5.0
_SEAL_AFTER_S: Final = 60.0
_FORGET_EVERY_S: Final = 3600.0
_RETRY_AFTER_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What the ledger holds.

    Attributes:
        rows: recorded, not yet in PostgreSQL.
        bytes: of the spool, on disk.
        oldest_s: age of the oldest of these rows in seconds, at most; 0 when there are none.
        held: rows that the disk refuses at the moment: they live in memory alone.
        quarantined: rows in the quarantine file.
        write_errors: refusals of the disk since the start.
        lost: rows lost since the start: the disk refused them and the memory set aside was full.
    """

    rows: int
    bytes: int
    oldest_s: float
    held: int
    quarantined: int
    write_errors: int
    lost: int


class Ledger:
    """Make it with `open`. `record`, `record_denial`, `check_room` and `backlog` never wait for anything.

    Attributes:
        totals: of all that was recorded since the start.
    """

    def __init__(
        self,
        *,
        spool: Spool,
        quarantine: Quarantine,
        carrier: Carrier,
        postgres: PostgresPool,
        metrics: LedgerMetrics,
        clock: Clock,
        log: FilteringBoundLogger,
        hub: Hub | None,
        max_bytes: Callable[[], int],
    ) -> None:
        self._spool = spool
        self._folds = Folds(spool, clock=clock)
        self._quarantine = quarantine
        self._carrier = carrier
        self._postgres = postgres
        self._metrics = metrics
        self.totals = Totals()
        self._clock = clock
        self._log = log
        self._hub = hub
        self._max_bytes = max_bytes
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._forgot_at_s = clock.monotonic_s()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path,
        *,
        postgres: PostgresPool,
        registry: CollectorRegistry,
        clock: Clock,
        log: FilteringBoundLogger,
        max_bytes: Callable[[], int],
        hub: Hub | None = None,
    ) -> AsyncIterator["Ledger"]:
        """A ledger whose spool is `directory`, which no other process uses.

        Args:
            directory: made if it is not there (mode 0700); what an earlier process left in it is carried.
            postgres: may be away.
            registry: gets the families `citadel_ledger_*`.
            clock: both its times are used.
            log: for what goes wrong.
            max_bytes: the spool's size from which `check_room` refuses new work; asked each time, it may change.
            hub: is told of each row, if given.

        Raises:
            OSError: the directory cannot be used.
        """
        spool = Spool(directory, clock=clock, log=log)
        quarantine = Quarantine(directory, clock=clock)
        metrics = LedgerMetrics(registry)
        carrier = Carrier(spool, postgres, quarantine, metrics=metrics, log=log)
        ledger = cls(
            spool=spool,
            quarantine=quarantine,
            carrier=carrier,
            postgres=postgres,
            metrics=metrics,
            clock=clock,
            log=log,
            hub=hub,
            max_bytes=max_bytes,
        )
        await asyncio.to_thread(quarantine.open)
        await asyncio.to_thread(spool.open)
        ledger._watch(metrics)
        try:
            yield ledger
        finally:
            ledger._folds.seal()
            await asyncio.to_thread(spool.close)

    def record(self, event: UsageEvent) -> None:
        """Keep a finished request: it is in the page cache when this returns. Raises nothing."""
        try:
            line = encode(event)
        except (ValueError, TypeError) as error:
            self._spool.lost += 1
            self._log.error("usage row lost: it cannot be written down", error=str(error), lost=self._spool.lost)
            return
        self._spool.keep(line)
        self._tell(event)

    def record_denial(self, denial: UsageEvent, *, limit: str) -> None:
        """Keep a denied request: it counts on the one row of its user, limit and minute. Raises nothing.

        `denial.event_id` is not used: the row's own id follows from user, limit and minute.
        """
        try:
            self._folds.add(denial, limit=limit)
        except (ValueError, TypeError) as error:
            self._spool.lost += 1
            self._log.error("denial lost: it cannot be written down", error=str(error), lost=self._spool.lost)
            return
        self._tell(denial)

    def check_room(self) -> None:
        """Refuse new work while its rows could not be kept.

        Raises:
            RequestError: OVERLOADED; the spool is at its bound, or the disk refuses writes.
        """
        if self._spool.bytes >= self._max_bytes():
            reason = "usage records wait for the database and fill their storage budget"
        elif self._spool.held.half_full:
            reason = "usage records cannot be written to disk"
        else:
            return
        raise RequestError(Code.OVERLOADED, f"{reason}; try again later", retry_after_s=_RETRY_AFTER_S)

    def backlog(self) -> Backlog:
        """What is held now."""
        spool = self._spool
        return Backlog(
            rows=spool.rows,
            bytes=spool.bytes,
            oldest_s=spool.oldest_s(),
            held=len(spool.held),
            quarantined=self._quarantine.rows,
            write_errors=spool.write_errors,
            lost=spool.lost,
        )

    async def run(self) -> None:
        """Carry, for ever. One task of whoever owns the workers."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._carry()
            except (PostgresUnavailable, asyncpg.PostgresError, OSError) as error:
                self._report(error, first=pause_s == _FIRST_PAUSE_S)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            await self._gather()

    async def flush(self, timeout_s: float) -> bool:
        """Carry what can be carried within `timeout_s`; True when nothing is left. The rest stays in the spool.

        Call it when no request is under way any more. Raises nothing.
        """
        self._folds.seal()
        try:
            async with asyncio.timeout(timeout_s):
                while await self._carrier.carry_one():
                    pass
        except (TimeoutError, PostgresUnavailable, asyncpg.PostgresError, OSError) as error:
            self._log.warning(
                "usage rows stay in the spool until the next start", rows=self._spool.rows, reason=_words(error)
            )
            return False
        return True

    async def _carry(self) -> None:
        self._some.clear()
        self._spool.retry()
        self._folds.seal_when_due()
        while await self._carrier.carry_one() and self._spool.rows >= BATCH_ROWS:
            self._folds.seal_when_due()
        self._spool.seal_older_than(_SEAL_AFTER_S)
        if self._clock.monotonic_s() - self._forgot_at_s >= _FORGET_EVERY_S:
            await table.forget_folds(self._postgres)
            self._forgot_at_s = self._clock.monotonic_s()

    async def _gather(self) -> None:
        """Wait for a first row, then for a batch of them; not for ever, folds become due by themselves."""
        if not self._spool.rows:
            await _happens(self._some, within_s=_IDLE_S)
        if 0 < self._spool.rows < BATCH_ROWS:
            self._enough.clear()
            await _happens(self._enough, within_s=_GATHER_S)

    def _tell(self, event: UsageEvent) -> None:
        self._metrics.recorded(event.listener, event.outcome, event.count)
        self.totals.add(event)
        self._some.set()
        if self._spool.rows >= BATCH_ROWS:
            self._enough.set()
        if self._hub:
            self._hub.publish_lazily(Topic.USAGE, lambda: msgspec.to_builtins(event))

    def _report(self, error: Exception, *, first: bool) -> None:
        self._metrics.failures.inc()
        if first:
            self._log.warning("usage rows wait in the spool", rows=self._spool.rows, reason=_words(error))

    def _watch(self, metrics: LedgerMetrics) -> None:
        spool = self._spool
        metrics.watch("spool_bytes", "Size of the spool on disk", lambda: spool.bytes)
        metrics.watch("spool_rows", "Rows recorded and not yet in PostgreSQL", lambda: spool.rows)
        metrics.watch("spool_oldest_seconds", "Age of the oldest of these rows, at most", spool.oldest_s)
        metrics.watch("held_rows", "Rows the disk refuses, kept in memory", lambda: len(spool.held))
        metrics.watch("write_errors", "Refusals of the spool's disk since the start", lambda: spool.write_errors)
        metrics.watch("lost_rows", "Rows lost since the start", lambda: spool.lost)
        metrics.watch("quarantine_rows", "Rows in the quarantine file", lambda: self._quarantine.rows)


async def _happens(event: asyncio.Event, *, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _words(error: Exception) -> str:
    """A reason without the text of any row."""
    return str(error) if isinstance(error, PostgresUnavailable) else type(error).__name__
