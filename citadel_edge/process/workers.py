"""The background work of the process: started together, stopped together, each begun again when it breaks.

Decides who runs and what is asked for health. A worker that ends with an unforeseen error is a bug, but no reason to
stop serving: it is logged and begun again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import aiohttp

from citadel_edge.config.shape import ListenerName
from citadel_edge.edge import Edge
from citadel_edge.embedded.parts import Parts
from citadel_edge.embedded.supervisor import PartState
from citadel_edge.groups import plain_group
from citadel_edge.health.board import http_probe
from citadel_edge.health.linger import Lingering
from citadel_edge.health.verdict import Check, Condition
from citadel_edge.process.figures import publish_figures
from citadel_edge.storage.state import DependencyState, Status
from citadel_edge.telemetry.loop_lag import watch_loop

AGAIN_AFTER_S = 1.0
REPORT_EVERY_S = 1.0
SETTINGS_WITHIN_S = 1.0


@asynccontextmanager
async def workers(edge: Edge, parts: Parts | None = None) -> AsyncIterator[asyncio.TaskGroup]:
    """Run the edge's workers while the context is open; the group takes further ones.

    Args:
        edge: whose workers.
        parts: its embedded databases and replicas; what their supervisors know is part of health.
    """
    parts = Parts() if parts is None else parts
    timeout = aiohttp.ClientTimeout(total=2)
    async with aiohttp.ClientSession(timeout=timeout) as session, plain_group() as group:
        _watch_health(edge, session, parts)
        _tell_of_dead_replicas(edge, parts)
        await edge.operations.look_first(within_s=SETTINGS_WITHIN_S)
        jobs: dict[str, Callable[[], Awaitable[None]]] = {
            "directory": edge.directory.run,
            "presence": lambda: edge.presence.run(edge.directory.holder),
            "ledger": edge.ledger.run,
            "rollups": edge.rollups.run,
            "probes": edge.probes.run,
            "operations": edge.operations.run,
            "decisions": edge.decision_store.run,
            "feedback": edge.feedback.run,
            "instances": edge.instances.run,
            "limits": edge.limiter.run,
            "streams": edge.streams.run,
            "health": edge.board.run,
            "loop lag": lambda: watch_loop(edge.registries.loop_lag, edge.clock),
            "storage": lambda: _report_storage(edge),
            "figures": lambda: publish_figures(edge),
        }
        tasks = [group.create_task(_keep(edge, name, job), name=name) for name, job in jobs.items()]
        try:
            yield group
        finally:
            for task in tasks:
                task.cancel()


async def _keep(edge: Edge, name: str, job: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await job()
        except Exception:
            edge.logs.logger().exception("worker_broke", worker=name, again_in_s=AGAIN_AFTER_S)
            await asyncio.sleep(AGAIN_AFTER_S)
        else:
            return


def _watch_health(edge: Edge, session: aiohttp.ClientSession, parts: Parts) -> None:
    """Name what is asked and what is looked at. `IMPACTS` says what each means for a service."""
    config = edge.config.value
    board = edge.board
    board.ask("redis", Lingering(_supervised(edge.redis.check, parts, "valkey"), edge.clock))
    board.ask("postgres", Lingering(_supervised(edge.postgres.check, parts, "postgres"), edge.clock))
    board.ask("metrics_server", http_probe(session, config.metrics_server.url, "/-/healthy", edge.clock))
    board.ask("api_gateway", http_probe(session, config.api_gateway.url, "/health", edge.clock))
    board.glance("upstreams", lambda: upstreams_check(edge))
    board.glance("ledger", lambda: ledger_check(edge))
    board.glance("limits", lambda: limits_check(edge))


def _supervised(
    check: Callable[[], Awaitable[DependencyState]], parts: Parts, name: str
) -> Callable[[], Awaitable[DependencyState]]:
    """A pool's check, and what the supervisor of its embedded server knows: a pool may not notice a quick restart."""
    supervisor = parts.supervisors.get(name)
    if supervisor is None:
        return check

    async def checked() -> DependencyState:
        state = await check()
        outages = state.outages + supervisor.restarts
        if supervisor.state is PartState.READY:
            return replace(state, outages=outages)
        return DependencyState(Status.DOWN, f"the embedded {name} is {supervisor.state.value}", outages=outages)

    return checked


def _tell_of_dead_replicas(edge: Edge, parts: Parts) -> None:
    """The fleet hears of an embedded replica's death at once: a quick restart may fall between two of its probes."""
    for upstream in parts.upstreams:
        parts.supervisors[upstream.id].when_dead(partial(_is_dead, edge, upstream.id))


def _is_dead(edge: Edge, upstream_id: str) -> None:
    row = edge.fleet.table.rows.get(upstream_id)
    if row is not None:
        edge.fleet.probe_failed(row, "its process has ended", at_once=True, asked=edge.clock.monotonic_s())


def upstreams_check(edge: Edge) -> Check:
    """How many replicas would take a request now."""
    rows = list(edge.fleet.table.rows.values())
    now = edge.clock.monotonic_s()
    usable = sum(row.usable(now) for row in rows)
    words = f"{usable} of {len(rows)} replicas usable"
    if usable == 0:
        return Check(Condition.DOWN, words)
    return Check(Condition.UP if usable == len(rows) else Condition.PARTIAL, words)


def ledger_check(edge: Edge) -> Check:
    """Whether usage rows reach the disk. Rows that wait for PostgreSQL are PostgreSQL's trouble, not the ledger's."""
    backlog = edge.ledger.backlog()
    words = f"{backlog.rows} rows wait in the spool"
    if backlog.lost or backlog.held:
        return Check(Condition.DOWN, f"the disk refuses usage rows ({backlog.held} held, {backlog.lost} lost)")
    return Check(Condition.UP, words)


def limits_check(edge: Edge) -> Check:
    """Whether limits are counted in Redis, for all instances together, or by this one for its share."""
    state = edge.limiter.state()
    return Check(Condition.PARTIAL if state.degraded else Condition.UP, state.detail)


async def _report_storage(edge: Edge) -> None:
    """Tell each listener's storage budget what is on disk for it."""
    while True:
        edge.budgets[ListenerName.ROUTING].storage.report("usage spool", edge.ledger.backlog().bytes)
        for name, size in edge.logs.bytes_on_disk().items():
            edge.budgets[name].storage.report("log file", size)
        await asyncio.sleep(REPORT_EVERY_S)
