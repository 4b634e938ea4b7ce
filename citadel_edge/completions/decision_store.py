"""Decisions kept in PostgreSQL: all that did not end well at the first attempt, and a sample of the others.

Decides what is kept and for how long. A request never waits for it: what is offered joins a bounded queue, a worker
carries it on in batches, and what does not fit (the database is away for long) is dropped, oldest first, and counted.
Refuses to know how a decision is made and who may see it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from random import random
from typing import Any, Final, Self

import asyncpg
import msgspec
from prometheus_client import CollectorRegistry, Counter
from structlog.typing import FilteringBoundLogger

from citadel_edge.completions.decisions import MOST_CANDIDATES
from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config
from citadel_edge.errors import PostgresUnavailable
from citadel_edge.routing.decision import Decision
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock

MOST_WAITING: Final = 4096
BATCH: Final = 64
GATHER_S: Final = 0.5
RETRY_S: Final = 1.0
SWEEP_EVERY_S: Final = 3600.0
FIRST_SWEEP_S: Final = 60.0
SWEPT_AT_ONCE: Final = 5000
LAST_WORDS_S: Final = 1.0
_NO_TABLE: Final = "PostgreSQL has no decisions yet: the migrations are still to run"
_DAY_S: Final = 86_400.0
_INSERT: Final = """
INSERT INTO decisions (id, user_id, model, asked, upstreams, outcome, shown, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8)) ON CONFLICT DO NOTHING"""
_BEFORE: Final = "id < {}"
_OF_USER: Final = "user_id = {}"
_OF_MODEL: Final = "(model = {0} OR asked = {0})"
_BY_UPSTREAM: Final = "upstreams @> ARRAY[{}]::text[]"
_ENDED: Final = "outcome = {}"
_SWEEP: Final = "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions WHERE id < $1 ORDER BY id LIMIT $2)"


class DecisionStoreMetrics:
    """`citadel_decisions_stored_total` and `citadel_decisions_dropped_total`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stored = Counter("citadel_decisions_stored", "Decisions kept in PostgreSQL.", registry=registry)
        self.dropped = Counter(
            "citadel_decisions_dropped", "Decisions that PostgreSQL did not take in time.", registry=registry
        )


class DecisionStore:
    """The table of decisions. Make it with `open`; `run` is its worker."""

    def __init__(
        self,
        postgres: PostgresPool,
        config: Live[Config],
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        metrics: DecisionStoreMetrics,
        rng: Callable[[], float] = random,
    ) -> None:
        self._postgres = postgres
        self._config = config
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._rng = rng
        self._waiting: deque[Decision] = deque()
        self._candidates = 0
        self._some = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        postgres: PostgresPool,
        config: Live[Config],
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        registry: CollectorRegistry,
    ) -> AsyncIterator[Self]:
        """A store that carries on what waits, for a moment, when it is left."""
        store = cls(postgres, config, clock=clock, log=log, metrics=DecisionStoreMetrics(registry))
        yield store
        with suppress(PostgresUnavailable, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await store.flush()

    def offer(self, decision: Decision) -> None:
        """Keep it, if it is one to be kept."""
        if not decision.plain or self._rng() < self._config.value.routing.decisions.sample:
            self.keep(decision)

    def keep(self, decision: Decision) -> None:
        """Keep it in any case: somebody will ask."""
        self._waiting.append(decision)
        self._candidates += len(decision.candidates)
        self._drop()
        self._some.set()

    async def run(self) -> None:
        """Carry on what waits, and let go of what is old. Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry_on(), name="decisions to PostgreSQL")
            group.create_task(self._sweep_now_and_then(), name="decisions grow old")

    async def flush(self) -> None:
        """Write what waits. Raises `PostgresUnavailable`; what was not written waits on."""
        while self._waiting:
            batch = [self._taken() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                await self._write(batch)
            except BaseException:
                self._put_back(batch)
                raise

    async def _write(self, batch: list[Decision]) -> None:
        """Write them, and take from the batch what is settled: written, or refused for good."""
        rows = await self._in_words(batch)
        try:
            await self._insert(rows)
        except PostgresUnavailable:
            raise
        except Exception as error:
            self._log.warning("decisions refused together: each for itself", reason=type(error).__name__)
            await self._one_by_one(batch, rows)
        else:
            self._metrics.stored.inc(len(rows))
            batch.clear()

    async def _one_by_one(self, batch: list[Decision], rows: list[tuple[Any, ...]]) -> None:
        """One of them was refused: find out which, so that the others are kept."""
        for row in rows:
            try:
                await self._insert([row])
            except PostgresUnavailable:
                raise
            except Exception as error:
                self._metrics.dropped.inc()
                self._log.error("decision refused by PostgreSQL", reason=type(error).__name__)
            else:
                self._metrics.stored.inc()
            del batch[0]

    async def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        try:
            await self._postgres.executemany(_INSERT, rows)
        except asyncpg.UndefinedTableError as error:
            raise PostgresUnavailable(_NO_TABLE) from error

    async def _in_words(self, batch: list[Decision]) -> list[tuple[Any, ...]]:
        """What is inserted, a row a decision; those that cannot be put into words leave the batch.

        Others have their turn after each, for with many candidates each is work.
        """
        rows = []
        for decision in tuple(batch):
            try:
                rows.append(_row(decision))
            except Exception as error:
                batch.remove(decision)
                self._metrics.dropped.inc()
                self._log.error("decision cannot be put into words", reason=type(error).__name__)
            await asyncio.sleep(0)
        return rows

    async def get(self, decision_id: str) -> dict[str, Any] | None:
        """One of them as it was shown. Raises `PostgresUnavailable`."""
        rows = await self._rows("SELECT shown FROM decisions WHERE id = $1", decision_id)
        return _read(rows[0]["shown"]) if rows else None

    async def find(
        self,
        *,
        limit: int,
        before: str | None = None,
        user_id: str | None = None,
        model: str | None = None,
        upstream: str | None = None,
        outcome: str | None = None,
    ) -> list[dict[str, Any]]:
        """As `Decisions.find`, as they were shown. Raises `PostgresUnavailable`."""
        wanted = {_BEFORE: before, _OF_USER: user_id, _OF_MODEL: model, _BY_UPSTREAM: upstream, _ENDED: outcome}
        rows = await self._rows(*_query({term: value for term, value in wanted.items() if value is not None}, limit))
        return [_read(row["shown"]) for row in rows]

    async def _rows(self, query: str, *args: Any) -> list[Any]:
        try:
            return await self._postgres.fetch(query, *args)
        except asyncpg.UndefinedTableError as error:
            raise PostgresUnavailable(_NO_TABLE) from error

    async def sweep(self) -> None:
        """Delete what is older than `keep_days`. Raises `PostgresUnavailable`."""
        oldest_s = self._clock.unix_s() - self._config.value.routing.decisions.keep_days * _DAY_S
        edge = f"dec_{int(oldest_s * 1000) << 80:032x}"  # ids begin with their milliseconds
        whole = f"DELETE {SWEPT_AT_ONCE}"
        gone = whole
        while gone == whole:
            gone = await self._postgres.execute(_SWEEP, edge, SWEPT_AT_ONCE)

    async def _carry_on(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            await asyncio.sleep(GATHER_S)
            try:
                await self.flush()
            except PostgresUnavailable:
                self._some.set()
                await asyncio.sleep(RETRY_S)
                await self._postgres.wait_until_up()

    async def _sweep_now_and_then(self) -> None:
        pause_s = FIRST_SWEEP_S  # soon: a process that is started often would never come to it
        while True:
            await asyncio.sleep(pause_s * (0.5 + self._rng()))  # several instances, not all at once
            pause_s = SWEEP_EVERY_S
            with suppress(PostgresUnavailable, asyncpg.UndefinedTableError):
                await self.sweep()

    def _taken(self) -> Decision:
        oldest = self._waiting.popleft()
        self._candidates -= len(oldest.candidates)
        return oldest

    def _put_back(self, batch: list[Decision]) -> None:
        self._waiting.extendleft(reversed(batch))
        self._candidates += sum(len(decision.candidates) for decision in batch)
        self._drop()

    def _drop(self) -> None:
        while len(self._waiting) > MOST_WAITING or (self._candidates > MOST_CANDIDATES and len(self._waiting) > 1):
            self._taken()
            self._metrics.dropped.inc()


def _query(wanted: Mapping[str, str], limit: int) -> tuple[Any, ...]:
    """The statement and its values. It names only what is wanted: so that an index can serve it."""
    terms = [term.format(f"${number}") for number, term in enumerate(wanted, start=2)]
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    query = f"SELECT shown FROM decisions {where} ORDER BY id DESC LIMIT $1"  # noqa: S608 - the terms are constants
    return (query, limit, *wanted.values())


def _row(decision: Decision) -> tuple[Any, ...]:
    """A JSON text of PostgreSQL holds no zero byte, not even an escaped one."""
    shown = msgspec.json.encode(decision.shown()).decode().replace("\\u0000", "\\ufffd")
    return (
        decision.id,
        decision.user_id,
        decision.model,
        decision.asked,
        list(decision.upstreams()),
        decision.outcome,
        shown,
        decision.at,
    )


def _read(text: str) -> dict[str, Any]:
    shown: Mapping[str, Any] = msgspec.json.decode(text)
    return dict(shown)
