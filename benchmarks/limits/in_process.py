"""What a check costs without HTTP: `Limiter.reserve`, as our own doors call it, so many at once.

The limiter has a processor for itself and Redis the other. Those that ask in one turn of the loop travel together.
"""

import asyncio
import gc
import logging
import os
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from benchmarks import cpu
from benchmarks.limits.service import Valkey
from citadel_edge.accounts.entitlement import Entitlement, LimitSheet
from citadel_edge.config.shape import RedisConfig
from citadel_edge.limits.claims import Claim, Decision, Reservation
from citadel_edge.limits.limiter import Limiter
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.limits.plan import Who
from citadel_edge.limits.values import Spent
from citadel_edge.process.run import COLLECT_AFTER
from citadel_edge.storage.instances import Instances
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub

AT_ONCE: Final = (1, 16, 64, 256)
USERS: Final = 16
MUCH: Final = 10**9
DEADLINE_MS: Final = 2000.0
WARM_UP: Final = 0.2
TTL_S: Final = 600.0
"""Longer than anything takes here: nothing is renewed in between."""
WAITING: Final = "citadel_limits_settlements_waiting"
FOUR: Final = dict.fromkeys(("requests_per_minute", "tokens_per_minute", "concurrent", "tokens_per_day"), MUCH)
KINDS: Final = {
    "check": "four limits, reserved in Redis",
    "settle": "its settlement",
    "over": "known to be over a limit",
}
COLUMNS: Final = {
    "per_s": "a second",
    "limiter_us": "limiter µs",
    "best_us": "best",
    "redis_us": "Redis µs",
    "scripts": "scripts",
}
Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Until now: nanoseconds of this process's CPU and of Redis's, scripts, and seconds."""

    own_ns: int
    redis_ns: int
    scripts: int
    at_s: float


class Bench:
    """Asks and measures."""

    def __init__(self, limiter: Limiter, valkey: Valkey, registry: CollectorRegistry) -> None:
        self._limiter = limiter
        self.valkey = valkey
        self._registry = registry
        self._limited = [_claim(f"usr_{number}", FOUR) for number in range(USERS)]
        self._over = _claim("usr_over", {"tokens_per_day": 50})
        self._open: list[Reservation] = []

    async def measure(self, kind: str, *, requests: int, at_once: int) -> Figures:
        """One round of a kind. The settlements are those of the round of checks before."""
        act = {"check": self._check, "settle": self._settle, "over": self._deny}[kind]
        before = await self._usage()
        for first in range(0, requests, at_once):
            await act(first, min(at_once, requests - first))
        while self._registry.get_sample_value(WAITING):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0)
        after = await self._usage()
        return {
            "per_s": requests / (after.at_s - before.at_s),
            "limiter_us": (after.own_ns - before.own_ns) / requests / 1000,
            "redis_us": (after.redis_ns - before.redis_ns) / requests / 1000,
            "scripts": (after.scripts - before.scripts) / requests,
        }

    async def _check(self, first: int, count: int) -> None:
        claims = (self._limited[number % USERS] for number in range(first, first + count))
        for decision in await asyncio.gather(*map(self._limiter.reserve, claims)):
            _demand(decision, lambda one: one.allowed and not one.degraded)
            if decision.reservation is not None:
                self._open.append(decision.reservation)

    async def _settle(self, _first: int, count: int) -> None:
        """Queued; the loop gets its turn, as between requests."""
        for _ in range(count):
            self._limiter.settle(self._open.pop(), Spent(1, 20))
        await asyncio.sleep(0)

    async def _deny(self, _first: int, count: int) -> None:
        for decision in await asyncio.gather(*(self._limiter.reserve(self._over) for _ in range(count))):
            _demand(decision, lambda one: not one.allowed and not one.degraded)

    async def over(self) -> None:
        """Let the one who is to be over its limit be so."""
        _demand(await self._limiter.reserve(self._over), lambda one: one.allowed)

    async def _usage(self) -> Usage:
        said = (await self.valkey.info("commandstats")).get("cmdstat_evalsha", "calls=0")
        scripts = int(dict(pair.split("=") for pair in said.split(","))["calls"])
        return Usage(
            own_ns=time.process_time_ns(),
            redis_ns=cpu.used_ns(self.valkey.pid),
            scripts=scripts,
            at_s=time.perf_counter(),
        )


def _claim(user: str, limits: dict[str, int]) -> Claim:
    entitled = Entitlement(tier=LimitSheet(values=limits))
    who = Who(organisation_id="org_bench", user_id=user, entitlement=entitled)
    return Claim(who=who, cost=Spent(1, 40), ttl_s=TTL_S, tier="bench")


def _demand(decision: Decision, fine: Callable[[Decision], bool]) -> None:
    """A figure over other answers than those that were meant is none."""
    if not fine(decision):
        raise SystemExit(f"another answer than was meant: {decision}")


async def measure(folder: Path, *, requests: int, rounds: int) -> dict[str, Figures]:
    """The median of the rounds and the least CPU of one, by kind and how many at once (`check, 16`)."""
    measured, others = cpu.two_sides()
    os.sched_setaffinity(0, measured)
    found: defaultdict[str, list[Figures]] = defaultdict(list)
    async with _bench(folder) as bench:
        cpu.pin(bench.valkey.pid, others)
        await bench.over()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        for number in range(-1, rounds):
            for at_once in AT_ONCE:
                for kind in KINDS:
                    asked = requests if number >= 0 else max(at_once, int(requests * WARM_UP))
                    row = await bench.measure(kind, requests=asked, at_once=at_once)
                    if number >= 0:
                        found[f"{kind}, {at_once}"].append(row)
    return {
        name: {column: statistics.median(row[column] for row in rows) for column in COLUMNS if column != "best_us"}
        | {"best_us": min(row["limiter_us"] for row in rows)}
        for name, rows in found.items()
    }


@asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[Bench]:
    """A limiter with its worker, over a Redis of its own."""
    valkey, clock, registry = Valkey(folder / "redis"), Clock(), CollectorRegistry()
    log = structlog.wrap_logger(
        structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    await valkey.start()
    try:
        config = RedisConfig(url=f"unix://{valkey.path}", deadline_ms=DEADLINE_MS)
        async with RedisPool.open(config, clock=clock, log=log) as pool, asyncio.TaskGroup() as group:
            await pool.wait_until_up()
            limiter = Limiter(
                pool,
                deadline_s=DEADLINE_MS / 1000,
                instances=Instances(pool),
                clock=clock,
                hub=Hub(clock),
                log=log,
                metrics=LimitsMetrics(registry),
            )
            worker = group.create_task(limiter.run())
            try:
                yield Bench(limiter, valkey, registry)
            finally:
                worker.cancel()
    finally:
        await valkey.kill()


def table(found: dict[str, Figures]) -> str:
    """The figures as people read them."""
    lines = [f"{'without HTTP':<36}{'at once':>8}" + "".join(f"{words:>12}" for words in COLUMNS.values())]
    for name, row in found.items():
        kind, _, at_once = name.partition(", ")
        cells = "".join(f"{row[column]:12.{2 if column == 'scripts' else 1}f}" for column in COLUMNS)
        lines.append(f"{KINDS[kind]:<36}{at_once:>8}{cells}")
    return "\n".join(lines)
