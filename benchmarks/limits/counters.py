"""What was counted of a user's tokens, by whom: Redis, the ledger, and the answers that the user got."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from secrets import token_hex
from typing import Final

import asyncpg
import structlog
from structlog import make_filtering_bound_logger
from structlog.typing import FilteringBoundLogger

from benchmarks.limits.crowd import Part, Person, Shot
from citadel_edge.config.shape import RedisConfig
from citadel_edge.limits.plan import Periods
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.values import MOST, NOTHING, Dimension, LimitName, Order
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock

DEADLINE_MS: Final = 2000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One user's. `answered`: tokens of all answers and settlements; `leases`: held in Redis."""

    name: str
    roams: bool
    answered: int
    redis: int
    ledger: int
    leases: int

    @property
    def agrees(self) -> bool:
        """Whether all say the same, and nothing is held."""
        return self.answered == self.redis == self.ledger and self.leases == 0


async def counts(people: Sequence[Person], shots: Sequence[Shot], *, redis: Path, dsn: str) -> list[Count]:
    """What is counted now, of each of them."""
    config = RedisConfig(url=f"unix://{redis}", deadline_ms=DEADLINE_MS)
    ledger = await _ledger(dsn)
    async with RedisPool.open(config, clock=Clock(), log=_silent()) as pool:
        await pool.wait_until_up()
        store = RedisStore(pool)
        return [await _count(person, shots, store, ledger.get(person.id, 0)) for person in people]


def _silent() -> FilteringBoundLogger:
    wrapper = make_filtering_bound_logger(logging.CRITICAL)
    quiet: FilteringBoundLogger = structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=wrapper)
    return quiet


async def _count(person: Person, shots: Sequence[Shot], store: RedisStore, ledger: int) -> Count:
    subject = f"u:{person.id}"
    now_ms = int(Clock().unix_s() * 1000)
    month = Dimension(subject=subject, name=LimitName.TOKENS_PER_MONTH, limit=MOST, period=Periods(now_ms, UTC).month)
    held = Dimension(subject=subject, name=LimitName.CONCURRENT, limit=MOST)
    organisation = person.organisation
    order = Order(
        reservation=f"res_{organisation.removeprefix('org_')}_{token_hex(16)}",
        organisation_id=organisation,
        dimensions=(month, held),
        cost=NOTHING,
    )
    levels = (await store.read(order)).levels
    own = [shot for shot in shots if shot.person is person and shot.part is not Part.CHECK]
    return Count(
        name=person.habit.name,
        roams=person.habit.roams,
        answered=sum(shot.tokens for shot in own),
        redis=levels[0].amount,
        ledger=ledger,
        leases=levels[1].amount,
    )


async def _ledger(dsn: str) -> dict[str, int]:
    """Tokens by user, as the rows of usage say."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT user_id, sum(tokens_in + tokens_out) AS tokens FROM usage_events GROUP BY user_id"
        )
        return {row["user_id"]: int(row["tokens"]) for row in rows}
    finally:
        await connection.close()
