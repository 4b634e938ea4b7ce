"""What the queue costs whoever writes rows, and what folding costs: rows a second, the ledger's own way of writing."""

import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from benchmarks.analytics.database import Database
from citadel_edge.accounts.ledger import table
from citadel_edge.accounts.ledger.codec import encode, unseal
from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

BATCH: Final = 500
_TRIGGERS: Final = "ALTER TABLE usage_events {} TRIGGER USER"


def payload(clock: Clock, rng: random.Random, at: datetime) -> bytes:
    """A row as the spool holds it, of one of 300 users."""
    user = rng.randrange(300)
    event = UsageEvent(
        event_id=uuid7(clock),
        request_id=f"req_{rng.randrange(2**60):016x}",
        organisation_id=f"org_{user % 10}",
        user_id=f"usr_{user:032}",
        key_id=f"key_{user:032}",
        tier=("free", "pro", "enterprise")[user % 3],
        model=f"model-{(5 * user + rng.randrange(4)) % 12}",
        upstream=f"upstream-{rng.randrange(8)}",
        endpoint="/v1/chat/completions",
        listener="routing-api",
        decision_id=f"dec_{rng.randrange(2**60):016x}",
        attempts=1,
        tokens_in=rng.randrange(2000),
        tokens_out=rng.randrange(700),
        cost_usd=Decimal(rng.randrange(10**9)).scaleb(-12),
        outcome=Outcome.DONE,
        ttft_ms=rng.lognormvariate(5, 0.7),
        duration_ms=rng.lognormvariate(8, 0.7),
        created_at=at,
    )
    return unseal(encode(event)[:-1])


async def ingest(database: Database, *, rows: int) -> dict[str, float]:
    """Rows a second: written without and with the queue in turns, and folded at three traffics."""
    clock, rng = Clock(), random.Random(1)
    now = datetime(2026, 3, 4, 12, tzinfo=UTC)
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(max(1, rows // (10 * BATCH))):
        for queued in (False, True):
            await database.postgres.execute(_TRIGGERS.format("ENABLE" if queued else "DISABLE"))
            batches = [[payload(clock, rng, now) for _ in range(BATCH)] for _ in range(5)]
            began = time.perf_counter()
            for batch in batches:
                await table.add(database.postgres, batch)
            rates[queued].append(5 * BATCH / (time.perf_counter() - began))
    await fold_all(database)
    found = {
        "rows a second, written without the queue": statistics.median(rates[False]),
        "rows a second, written with the queue": statistics.median(rates[True]),
    }
    for a_second in (1, 10, 100, 1000):
        found[f"rows a second, folded, of {a_second} requests a second"] = await _folded(database, a_second, rows // 5)
    for name, rate in found.items():
        print(f"{name:56} {rate:8.0f}", flush=True)
    return found


async def _folded(database: Database, a_second: int, rows: int) -> float:
    """Rows that came so fast, taken in as the worker does: a thousand at once, or those of five seconds."""
    clock, rng = Clock(), random.Random(2)
    at, step = clock.now(), timedelta(seconds=1 / a_second)  # what comes late to a week that is over costs more
    at_once = min(5000, max(5 * a_second, 5))
    await table.add(
        database.postgres, [payload(clock, rng, at) for _ in range(20_000)]
    )  # all keys are known after these
    await fold_all(database)
    spent, done = 0.0, 0
    while done < min(rows, 60 * at_once):
        batch = [payload(clock, rng, at + step * (done + number)) for number in range(at_once)]
        for first in range(0, at_once, BATCH):
            await table.add(database.postgres, batch[first : first + BATCH])
        began = time.perf_counter()
        await fold_all(database)
        spent += time.perf_counter() - began
        done += at_once
    return done / spent


async def fold_all(database: Database) -> None:
    """Take in all that waits."""
    while await database.rollups.fold():
        pass
