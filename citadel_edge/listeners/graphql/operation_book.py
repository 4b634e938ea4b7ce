"""What clients ask of the graph, kept: this process's counts, written to PostgreSQL, and the report over all instances.

Each hour is counted anew, in the engine's bounded table, and written every 30 s, at the hour's end, before a report and
when the door closes. What is written is the hour's counts so far and not what came since: writing it twice, after an
answer that was lost, changes nothing. While PostgreSQL is away hours wait in memory, a day of them; what is older is
dropped and said in the log.

Decides when is written, what is kept (five weeks) and how hours and instances add up. Refuses to know how operations
are told apart: that is `graph.patterns`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import asyncpg
from structlog.typing import FilteringBoundLogger

from citadel_edge.errors import PostgresUnavailable
from citadel_edge.graph.patterns import Pattern, Patterns
from citadel_edge.groups import plain_group
from citadel_edge.storage.backoff import Backoff
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock

KEPT: Final = timedelta(days=35)
USUAL: Final = timedelta(days=7)
EVERY_S: Final = 30.0
WITHIN_S: Final = 10.0
LAST_WITHIN_S: Final = 1.0
MOST_WAITING: Final = 24
FIRST_PAUSE_S: Final = 1.0
LAST_PAUSE_S: Final = 60.0
ORDERS: Final = frozenset({"count", "cost", "seconds", "errors", "highest_cost", "slowest_s"})
_NO_TABLE: Final = "PostgreSQL has no operation patterns yet: the migrations are still to run"
_COUNTS: Final = ("count", "over", "errors", "cost", "highest_cost", "seconds", "slowest_s")
_NAME: Final = """
INSERT INTO graph_operations AS kept (id, name, hash, kind, text, seen)
SELECT given.*, $6::timestamptz FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS given
ORDER BY 1 ON CONFLICT (id) DO UPDATE SET seen = excluded.seen WHERE kept.seen < excluded.seen
"""
_LEAVE: Final = "DELETE FROM graph_operation_counts WHERE hour = $1 AND run = $2 AND operation_id <> ALL($3::text[])"
_WRITE: Final = f"""
INSERT INTO graph_operation_counts AS kept (hour, run, operation_id, {", ".join(_COUNTS)})
SELECT $1::timestamptz, $2::text, given.* FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
    $7::float8[], $8::float8[], $9::float8[], $10::float8[]) AS given
ON CONFLICT (hour, run, operation_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COUNTS)}
WHERE (kept.count, kept.seconds) IS DISTINCT FROM (excluded.count, excluded.seconds)
"""  # noqa: S608 - names of ours
_FORGET: Final = ("DELETE FROM graph_operation_counts WHERE hour < $1", "DELETE FROM graph_operations WHERE seen < $1")
_REPORT: Final = """
SELECT named.name, named.hash, named.kind, named.text, summed.* FROM (
    SELECT operation_id, sum(count)::bigint AS count, sum(over)::bigint AS over, sum(errors)::bigint AS errors,
        sum(cost) AS cost, max(highest_cost) AS highest_cost, sum(seconds) AS seconds, max(slowest_s) AS slowest_s
    FROM graph_operation_counts WHERE hour >= date_trunc('hour', $1::timestamptz, 'UTC') GROUP BY operation_id
) AS summed JOIN graph_operations AS named ON named.id = summed.operation_id
ORDER BY summed.{} DESC, summed.count DESC, named.id LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class _Hour:
    """One hour's counts, which do not grow any more."""

    hour: datetime
    rows: Sequence[Pattern]


class OperationBook:
    """The book of one process's graph.

    Args:
        patterns: what the engine counts in; begun anew each hour.
        run: this process's own name, of this life.
    """

    def __init__(
        self, patterns: Patterns, postgres: PostgresPool, *, run: str, clock: Clock, log: FilteringBoundLogger
    ) -> None:
        self._patterns = patterns
        self._postgres = postgres
        self._run = run
        self._clock = clock
        self._log = log
        self._hour = _hour_of(clock.now())
        self._written = 0
        self._waiting: deque[_Hour] = deque()
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Write now and then during the body, and what is left after it."""
        try:
            async with plain_group() as group:
                writing = group.create_task(self.run(), name="operation patterns")
                try:
                    yield
                finally:
                    writing.cancel()
        finally:
            await self._write_last()

    async def run(self) -> None:
        """Write every 30 s and at each hour's end, for ever; in growing pauses while PostgreSQL is away."""
        pauses, troubled = Backoff(FIRST_PAUSE_S, LAST_PAUSE_S), False
        while True:
            await asyncio.sleep(pauses.next_s() if troubled else self._pause_s())
            try:
                await self.write()
            except (PostgresUnavailable, asyncpg.PostgresError) as error:
                self._report(error, first=not troubled)
                troubled = True
            else:
                pauses.reset()
                troubled = False

    async def write(self) -> None:
        """Write what was counted until now.

        Raises:
            PostgresUnavailable, asyncpg.PostgresError: not now; nothing is lost by it.
        """
        async with self._writing:
            self._turn_over()
            while self._waiting:
                await self._write(self._waiting[0])
                self._waiting.popleft()
            runs = self._patterns.runs
            if runs != self._written:
                await self._write(_Hour(self._hour, self._patterns.rows()))
                self._written = runs

    async def top(self, number: int, *, by: str, since: datetime | None = None) -> list[Pattern]:
        """The first patterns of all instances, by one of `ORDERS`, counted from the hour of `since` on: a week's.

        Raises:
            PostgresUnavailable: without it nobody knows.
        """
        if by not in ORDERS:
            raise ValueError(f"no order: {by}")
        await self.write()
        since = self._clock.now() - USUAL if since is None else since
        rows = await self._postgres.fetch(_REPORT.format(by), since, number, timeout_s=WITHIN_S)
        named = ("name", "hash", "kind", "text", *_COUNTS)
        return [Pattern(**{name: row[name] for name in named}) for row in rows]

    def _turn_over(self) -> None:
        """Begin the next hour, if it has come."""
        hour = _hour_of(self._clock.now())
        if hour == self._hour:
            return
        self._waiting.append(_Hour(self._hour, self._patterns.begin_anew()))
        self._hour, self._written = hour, 0
        if len(self._waiting) > MOST_WAITING:
            lost = self._waiting.popleft()
            self._log.warning("counts of operations are lost", hour=lost.hour.isoformat(), operations=len(lost.rows))

    async def _write(self, hour: _Hour) -> None:
        rows = {_id(row): row for row in hour.rows}
        ids = list(rows)
        named = [[getattr(row, name) for row in rows.values()] for name in ("name", "hash", "kind", "text")]
        counted = [[getattr(row, name) for row in rows.values()] for name in _COUNTS]
        before = self._clock.now() - KEPT
        try:
            async with self._postgres.transaction(timeout_s=WITHIN_S) as connection:
                await connection.execute(_NAME, ids, *named, hour.hour)
                await connection.execute(_LEAVE, hour.hour, self._run, ids)
                await connection.execute(_WRITE, hour.hour, self._run, ids, *counted)
                if hour.hour != self._hour:
                    for statement in _FORGET:
                        await connection.execute(statement, before)
        except asyncpg.UndefinedTableError as error:
            raise PostgresUnavailable(_NO_TABLE) from error

    async def _write_last(self) -> None:
        try:
            async with asyncio.timeout(LAST_WITHIN_S):
                await self.write()
        except (PostgresUnavailable, asyncpg.PostgresError, TimeoutError) as error:
            self._report(error, first=True)

    def _pause_s(self) -> float:
        left = self._hour + timedelta(hours=1) - self._clock.now()
        return min(EVERY_S, max(left.total_seconds(), 0.0) + 0.001)

    def _report(self, error: Exception, *, first: bool) -> None:
        if first:
            words = str(error) if isinstance(error, PostgresUnavailable) else type(error).__name__
            self._log.warning("counts of operations are not written", reason=words)


def _hour_of(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)


def _id(row: Pattern) -> str:
    return sha256(f"{row.hash}\n{row.name or ''}".encode()).hexdigest()[:32]
