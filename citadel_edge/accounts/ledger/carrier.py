"""The carrier: takes rows from the spool to PostgreSQL, batch by batch, and forgets them only when they are there.

Decides the order (what the disk refused first, then the oldest segment) and what becomes of a batch that PostgreSQL
refuses: halved until the rows at fault stand alone in the quarantine and all others are in. Refuses to know when to
carry: whoever calls decides that, and waits when the database is away. Sending twice is harmless, so that nothing here
is kept on disk: after a crash the segments still there are sent again from their beginning.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg
from structlog.typing import FilteringBoundLogger

from citadel_edge.accounts.ledger import table
from citadel_edge.accounts.ledger.codec import unseal
from citadel_edge.accounts.ledger.metrics import LedgerMetrics
from citadel_edge.accounts.ledger.quarantine import Outcast, Quarantine
from citadel_edge.accounts.ledger.segment import Batch, Segment, read_batch
from citadel_edge.accounts.ledger.spool import Spool
from citadel_edge.storage.postgres import PostgresPool

BATCH_ROWS: Final = 500


class Carrier:
    """One spool's way to one PostgreSQL."""

    def __init__(
        self,
        spool: Spool,
        postgres: PostgresPool,
        quarantine: Quarantine,
        *,
        metrics: LedgerMetrics,
        log: FilteringBoundLogger,
    ) -> None:
        self._spool = spool
        self._postgres = postgres
        self._quarantine = quarantine
        self._metrics = metrics
        self._log = log
        self._carrying = asyncio.Lock()

    async def carry_one(self) -> bool:
        """Carry one batch; False when there was nothing to carry. A second caller waits for the first.

        Raises:
            PostgresUnavailable: the server is away.
            asyncpg.PostgresError: it refuses everything (no table, no right).
            OSError: a segment cannot be read or the quarantine not written; the next call begins with other segments.
        """
        async with self._carrying:
            carried = await self._carry_held() or await self._carry_segment()
            for finished in self._spool.finished():
                await asyncio.to_thread(self._spool.remove, finished)
            return carried

    async def _carry_held(self) -> bool:
        held = self._spool.held.oldest(BATCH_ROWS)
        if not held:
            return False
        await self._deliver([unseal(line[:-1]) for line in held.values()], [])
        self._spool.release(held)
        return True

    async def _carry_segment(self) -> bool:
        segment = self._spool.unsent()
        if segment is None:
            return False
        try:
            await self._carry_batch(segment)
        except FileNotFoundError:
            self._spool.drop(segment)
            self._log.error("a segment of the spool was deleted by someone", path=str(segment.path))
        except OSError:
            self._spool.postpone(segment)
            raise
        return True

    async def _carry_batch(self, segment: Segment) -> None:
        batch = await asyncio.to_thread(read_batch, segment.path, segment.carried, segment.size, max_rows=BATCH_ROWS)
        if batch.torn_bytes:
            self._metrics.torn.inc()
            self._log.warning("skipped an unfinished line", path=str(segment.path), bytes=batch.torn_bytes)
        await self._deliver(batch.payloads, _corrupt(batch))
        self._spool.advance(segment, batch.end, batch.lines)

    async def _deliver(self, payloads: Sequence[bytes], corrupt: list[Outcast]) -> None:
        with self._metrics.carry_seconds.time():
            refused = await self._send(payloads)
        self._metrics.carried.inc(len(payloads) - len(refused))
        if outcasts := corrupt + refused:
            await asyncio.to_thread(self._quarantine.add, outcasts)
            self._report(outcasts)

    async def _send(self, payloads: Sequence[bytes]) -> list[Outcast]:
        """Put rows in; those that PostgreSQL refuses come back."""
        try:
            await table.add(self._postgres, payloads)
        except asyncpg.PostgresError as error:
            if not table.is_rows_fault(error):
                raise
            if len(payloads) == 1:
                return [Outcast(f"refused: {error.sqlstate} {type(error).__name__}", "postgres", payloads[0])]
            middle = len(payloads) // 2
            return await self._send(payloads[:middle]) + await self._send(payloads[middle:])
        return []

    def _report(self, outcasts: Sequence[Outcast]) -> None:
        for outcast in outcasts:
            self._metrics.quarantined.labels(outcast.reason.partition(":")[0]).inc()
            self._log.error(
                "usage row set aside", reason=outcast.reason, source=outcast.source, file=str(self._quarantine.path)
            )


def _corrupt(batch: Batch) -> list[Outcast]:
    return [Outcast("corrupt", f"{corrupt.path.name}:{corrupt.offset}", corrupt.line) for corrupt in batch.corrupt]
