"""The edge: every part of the running product, put together once from a configuration. The one composition root.

Tests build it with their own parts; doors get it by `EDGE`. Refuses to know of sockets that listen, of signals and of
child processes: those are the process's.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

import citadel_edge
from citadel_edge.accounts.analytics.analytics import Analytics
from citadel_edge.accounts.analytics.rollups import Rollups
from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.directory import Directory
from citadel_edge.accounts.ledger.ledger import Ledger
from citadel_edge.accounts.presence import Presence
from citadel_edge.budgets.budget import Budget
from citadel_edge.budgets.metrics import BudgetMetrics
from citadel_edge.completions.decision_store import DecisionStore
from citadel_edge.completions.feedback_store import FeedbackStore
from citadel_edge.completions.history import History
from citadel_edge.completions.metrics import CompletionMetrics
from citadel_edge.completions.pipeline import Pipeline
from citadel_edge.completions.producing import Production
from citadel_edge.completions.takeover import Takeover
from citadel_edge.config.live import Live
from citadel_edge.config.shape import Config, ListenerName
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.fleet.probes import Probes
from citadel_edge.groups import plain_group
from citadel_edge.health.board import Board
from citadel_edge.health.verdict import ListenerState
from citadel_edge.limits.ledger import ledger_usage
from citadel_edge.limits.limiter import Limiter
from citadel_edge.limits.metrics import LimitsMetrics
from citadel_edge.operations.operations import Operations
from citadel_edge.routing.feedback import LearnedSkills
from citadel_edge.storage.instances import Instances
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.streams.metrics import StreamMetrics
from citadel_edge.streams.streams import Streams
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub, Topic
from citadel_edge.telemetry.hub_metrics import HubMetrics
from citadel_edge.telemetry.log_metrics import LogMetrics
from citadel_edge.telemetry.logs import Logs
from citadel_edge.telemetry.metrics import Registries
from citadel_edge.telemetry.metrics_server import MetricsServer

T = TypeVar("T")
SPOOL_SHARE = 0.9  # of the routing listener's storage budget; the rest is for its log file
"""What part of routing-api's disk share the spool may fill before new work is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Everything a door or a worker may need."""

    config: Live[Config]
    clock: Clock
    logs: Logs
    hub: Hub
    registries: Registries
    stream_metrics: StreamMetrics
    redis: RedisPool
    postgres: PostgresPool
    directory: Directory
    presence: Presence
    changes: Changes
    ledger: Ledger
    analytics: Analytics
    rollups: Rollups
    metrics_server: MetricsServer
    fleet: Fleet
    probes: Probes
    pipeline: Pipeline
    streams: Streams
    production: Production
    operations: Operations
    decision_store: DecisionStore
    history: History
    feedback: FeedbackStore
    skills: LearnedSkills
    instances: Instances
    limiter: Limiter
    budgets: Mapping[ListenerName, Budget]
    board: Board
    draining: asyncio.Event
    shelter: asyncio.TaskGroup

    def set_state(self, name: ListenerName, state: ListenerState) -> None:
        """Start, stop or drain a listener; told on the hub and in the log when it changes."""
        if self.board.states[name] is state:
            return
        self.board.states[name] = state
        self.hub.publish(Topic.LISTENERS, {"listener": name.value, "state": state.value})
        self.logs.logger(name.value).info("listener", state=state.value)

    async def carry(self, change: Coroutine[Any, Any, T], *, listener: ListenerName) -> T:
        """Carry a change to its end although the client leaves; its result or its error comes back here.

        Its task counts to the listener whose door took it.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.budgets[listener].spawn(self.shelter, _settle(change, done), name="carried change")
        return await asyncio.shield(done)


EDGE: web.AppKey[Edge] = web.AppKey("edge", Edge)


@asynccontextmanager
async def open_edge(config: Config, *, logs: Logs, data_dir: Path, clock: Clock | None = None) -> AsyncIterator[Edge]:
    """Put the parts together. Opens whether or not Redis, PostgreSQL and the upstreams are there.

    Args:
        config: with embedded parts already turned into addresses.
        logs: open, and closed by whoever opened them.
        data_dir: this process's own, locked.
        clock: the machine's, unless a test has another.
    """
    clock = clock or Clock()
    live = Live(config)
    registries = Registries(version=citadel_edge.__version__)
    everywhere = registries.process_wide
    LogMetrics(everywhere, lost=lambda: logs.lost)
    hub = Hub(clock, meter=HubMetrics(everywhere))
    stream_metrics = StreamMetrics(registries.of(ListenerName.STREAMING), clock)
    log = logs.logger()
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisPool.open(config.redis, clock=clock, log=log))
        postgres = await stack.enter_async_context(PostgresPool.open(config.postgres, clock=clock, log=log))
        client = await stack.enter_async_context(UpstreamClient.running())
        metrics_server = await stack.enter_async_context(MetricsServer.open(config.metrics_server.url))
        ledger = await stack.enter_async_context(
            Ledger.open(
                data_dir / "spool",
                postgres=postgres,
                registry=everywhere,
                clock=clock,
                log=log,
                max_bytes=lambda: _spool_bytes(live.value),
                hub=hub,
            )
        )
        decision_store = await stack.enter_async_context(
            DecisionStore.open(postgres, live, clock=clock, log=log, registry=everywhere)
        )
        shelter = await stack.enter_async_context(plain_group())  # last in: changes still find the pools
        fleet_metrics = FleetMetrics(everywhere)
        fleet = Fleet(live, clock=clock, hub=hub, log=log, metrics=fleet_metrics)
        directory = Directory(postgres=postgres, redis=redis, clock=clock, log=log)
        presence = Presence(clock)
        directory.on_news(presence.heed)
        changes = Changes(postgres=postgres, redis=redis, directory=directory, clock=clock)
        skills = LearnedSkills()
        instances = Instances(redis)
        limiter = Limiter(
            redis,
            deadline_s=config.redis.deadline_ms / 1000,
            instances=instances,
            clock=clock,
            hub=hub,
            log=log,
            metrics=LimitsMetrics(registries.of(ListenerName.RATE_LIMITING)),
            ledger_usage=ledger_usage(postgres),
        )
        pipeline = Pipeline(
            config=live,
            fleet=fleet,
            client=client,
            ledger=ledger,
            hub=hub,
            clock=clock,
            metrics=CompletionMetrics(everywhere, stream_metrics),
            skills=skills,
            instances=lambda: instances.last_known,
            limiter=limiter,
            shelter=shelter,
        )
        _remember(pipeline, decision_store, live)
        budget_metrics = BudgetMetrics(everywhere)
        budgets = {
            name: Budget(name, config.listeners[name].budget, clock=clock, metrics=budget_metrics)
            for name in ListenerName
        }
        streams = Streams(
            redis,
            lambda: live.value.streams,
            group=shelter,
            clock=clock,
            log=log,
            hold=budgets[ListenerName.STREAMING].count_bytes,
        )
        production = Production(
            pipeline=pipeline,
            streams=streams,
            presence=presence,
            budgets=budgets,
            group=shelter,
            clock=clock,
            log=log,
        )
        streams.on_orphan = Takeover(
            production=production,
            accounts=directory,
            ledger=ledger,
            fleet=fleet,
            budgets=budgets,
            clock=clock,
            log=log,
            metrics=stream_metrics,
        ).take
        edge = Edge(
            config=live,
            clock=clock,
            logs=logs,
            hub=hub,
            registries=registries,
            stream_metrics=stream_metrics,
            redis=redis,
            postgres=postgres,
            directory=directory,
            presence=presence,
            changes=changes,
            ledger=ledger,
            analytics=Analytics(postgres),
            rollups=Rollups(postgres, zones=directory.zones, clock=clock, log=log, registry=everywhere),
            metrics_server=metrics_server,
            fleet=fleet,
            probes=Probes(fleet, client, live, clock=clock, metrics=fleet_metrics),
            pipeline=pipeline,
            streams=streams,
            production=production,
            operations=Operations(fleet=fleet, desk=changes, postgres=postgres, redis=redis, log=log),
            decision_store=decision_store,
            history=History(pipeline.decisions, decision_store),
            feedback=FeedbackStore(postgres, learn=skills),
            skills=skills,
            instances=instances,
            limiter=limiter,
            budgets=budgets,
            board=Board(clock=clock, hub=hub, log=log),
            draining=asyncio.Event(),
            shelter=shelter,
        )
        try:
            yield edge
        finally:
            await production.close()


def _remember(pipeline: Pipeline, store: DecisionStore, config: Live[Config]) -> None:
    """Keep decisions as configured: so many in memory, and what shall outlive it in the store."""
    decisions = pipeline.decisions
    decisions.watch(store.offer)
    decisions.resize(config.value.routing.decisions.kept)
    config.watch(lambda new: decisions.resize(new.routing.decisions.kept))


async def _settle(change: Coroutine[Any, Any, T], done: asyncio.Future[T]) -> None:
    try:
        result = await change
    except BaseException as error:
        if not done.done():
            done.set_exception(error)
            done.exception()  # its reader may have left; the error was not lost on us
        if not isinstance(error, Exception):
            raise
    else:
        if not done.done():
            done.set_result(result)


def _spool_bytes(config: Config) -> int:
    return int(config.listeners[ListenerName.ROUTING].budget.storage_mb * 2**20 * SPOOL_SHARE)
