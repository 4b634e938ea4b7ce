"""The bench, opened and closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from citadel_edge.completions.metrics import CompletionMetrics
from citadel_edge.completions.pipeline import Pace, Pipeline
from citadel_edge.config.live import Live
from citadel_edge.config.shape import RedisConfig
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.limits.limiter import Limiter
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.storage.instances import Instances
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub
from completions.bench import Address, Bench, Ledger, Lines, OpenBench, make_config
from completions.scripted import Answer, Upstream

NOWHERE = "unix:///nowhere/valkey.sock"  # nobody here is limited, so nobody asks it


@pytest.fixture
async def open_bench() -> AsyncIterator[OpenBench]:
    """Opens benches whose upstreams answer as given, all healthy; closed in the end, with nothing left in flight."""
    async with AsyncExitStack() as stack:

        async def opened(
            *answers: Answer | Address,
            pace: Pace | None = None,
            healthy: bool = True,
            shelter: asyncio.TaskGroup | None = None,
            **routing: Any,
        ) -> Bench:
            scripted = [
                Upstream(f"u{n}", answer) for n, answer in enumerate(answers) if not isinstance(answer, Address)
            ]
            for upstream in scripted:
                await stack.enter_async_context(upstream.running())
            others = [answer for answer in answers if isinstance(answer, Address)]
            config = Live(make_config([*scripted, *others], **routing))
            registry = CollectorRegistry()
            hub = Hub(Clock())
            fleet = Fleet(config, clock=Clock(), hub=hub, log=Lines(), metrics=FleetMetrics(registry), rng=lambda: 0.5)
            client = await stack.enter_async_context(UpstreamClient.running())
            ledger = Ledger()
            log = structlog.get_logger()
            redis = await stack.enter_async_context(RedisPool.open(RedisConfig(url=NOWHERE), clock=Clock(), log=log))
            limiter = Limiter(
                redis,
                deadline_s=0.05,
                instances=Instances(redis),
                clock=Clock(),
                hub=hub,
                log=log,
                metrics=LimitsMetrics(registry),
            )
            pipeline = Pipeline(
                limiter=limiter,
                config=config,
                fleet=fleet,
                client=client,
                ledger=ledger,
                hub=hub,
                clock=Clock(),
                metrics=CompletionMetrics(registry),
                pace=pace,
                shelter=shelter,
            )
            for row in fleet.table.rows.values() if healthy else ():
                fleet.probe_succeeded(row, "ok")
            bench = Bench(config, fleet, client, pipeline, ledger, hub, registry, scripted)
            stack.callback(lambda: _check_empty(bench))
            return bench

        yield opened


def _check_empty(bench: Bench) -> None:
    assert bench.in_flight() == 0
    assert bench.waiting() == 0
