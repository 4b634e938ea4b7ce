"""A bench with everything that makes streams, in memory, and what a test wants to know of one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from citadel_edge.accounts.presence import Presence
from citadel_edge.budgets.budget import Budget, Seat
from citadel_edge.budgets.metrics import BudgetMetrics
from citadel_edge.completions.call import Call
from citadel_edge.completions.producing import Produced, Production
from citadel_edge.config.shape import BudgetConfig, ListenerName, RedisConfig, StreamsConfig
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.streams.reader import Reader
from citadel_edge.streams.streams import Streams
from citadel_edge.streams.values import Once, OnDisconnect, Policy, Terminal
from citadel_edge.telemetry.clock import Clock
from completions.bench import Bench, Lines, OpenBench

__all__ = ["CANCEL", "FINISH", "Lines", "Studio", "read", "studio", "text_of"]

CANCEL = Policy(on_disconnect=OnDisconnect.CANCEL)
FINISH = Policy(on_disconnect=OnDisconnect.FINISH)
NOWHERE = "unix:///nowhere/valkey.sock"


@dataclass
class Studio:
    """The parts of one test."""

    bench: Bench
    production: Production
    streams: Streams
    presence: Presence
    budget: Budget

    @property
    def budgets(self) -> dict[ListenerName, Budget]:
        return dict.fromkeys(ListenerName, self.budget)

    def call(self, body: dict[str, Any] | None = None, **changes: Any) -> Call:
        changes = {"listener": ListenerName.STREAMING, "spawn": self.budget.spawn, **changes}
        return self.bench.call({"stream": True, **(body or {})}, **changes)

    def start(
        self,
        body: dict[str, Any] | None = None,
        *,
        policy: Policy = CANCEL,
        once: Once | None = None,
        seat: Seat | None = None,
        **changes: Any,
    ) -> Produced:
        return self.production.start(self.call(body, **changes), policy=policy, once=once, seat=seat)

    async def idle(self, within_s: float = 5.0) -> None:
        async with asyncio.timeout(within_s):
            await self.production.idle()

    async def end(self, stream: str) -> Terminal:
        """The terminal of a stream, when it has come."""
        async with asyncio.timeout(10):
            with (await self.streams.open(stream)).reader as reader:
                _, terminal = await read(reader)
        return terminal

    def at_rest(self) -> bool:
        """Whether nothing is held for anybody."""
        held = self.budget.snapshot()
        taken = held["tasks"], held["queued"], held["spawned"], self.bench.in_flight(), self.bench.waiting()
        return not any(taken) and not self.presence and not self.production.running


async def read(reader: Reader) -> tuple[str, Terminal]:
    """What a stream says, to its end."""
    said: list[str] = []
    async for batch in reader:
        said += [text_of(payload) for payload in batch.payloads]
        if batch.terminal is not None:
            return "".join(said), batch.terminal
    raise AssertionError("a stream without an end")


def text_of(payload: bytes) -> str:
    choices = json.loads(payload)["choices"]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@asynccontextmanager
async def studio(
    open_bench: OpenBench,
    *answers: Any,
    tasks: int = 8,
    queue_timeout_s: float = 5,
    group: asyncio.TaskGroup | None = None,
    **options: Any,
) -> AsyncIterator[Studio]:
    """Everything, in memory, in a group of one's own if need be. In the end nothing is left of anything."""
    log, clock = structlog.get_logger(), Clock()
    async with (
        RedisPool.open(RedisConfig(url=NOWHERE), clock=clock, log=log) as redis,
        group or asyncio.TaskGroup() as shelter,
    ):
        bench = await open_bench(*answers, shelter=shelter, **options)
        seats = BudgetConfig(tasks=tasks, queue_timeout_s=queue_timeout_s)
        budget = Budget(ListenerName.STREAMING, seats, clock=clock, metrics=BudgetMetrics(CollectorRegistry()))
        streams = Streams(redis, StreamsConfig, group=shelter, clock=clock, log=log)
        presence = Presence(clock)
        production = Production(
            pipeline=bench.pipeline,
            streams=streams,
            presence=presence,
            budgets=dict.fromkeys(ListenerName, budget),
            group=shelter,
            clock=clock,
            log=log,
        )
        made = Studio(bench, production, streams, presence, budget)
        try:
            yield made
        finally:
            await production.close()
        await asyncio.sleep(0)
        assert made.at_rest()
