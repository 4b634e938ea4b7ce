"""What `check` asks over the network: Redis, PostgreSQL, upstreams, the metrics server and the gateway.

Each look opens what it needs, asks once with patience, and closes. None raises for a server that is away.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace

import aiohttp
import asyncpg
from structlog.typing import FilteringBoundLogger

from citadel_edge.cli.findings import Finding, State
from citadel_edge.config.shape import PostgresConfig, RedisConfig, UpstreamConfig
from citadel_edge.config.urls import postgres_target, redis_target
from citadel_edge.errors import PostgresUnavailable, StartError, UpstreamError
from citadel_edge.fleet.breaker import Breaker, BreakerPolicy
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.engines.known import dialect_of
from citadel_edge.fleet.table import Row
from citadel_edge.health.board import http_probe
from citadel_edge.health.verdict import Condition
from citadel_edge.storage.migrate import missing, packaged
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.storage.state import DependencyState, Status
from citadel_edge.telemetry.clock import Clock

PATIENCE_S = 3.0
_GENEROUS_MS = 2000.0
_NOT_FOUND = (404, 405)
_OK = range(200, 300)
_STATES = {Condition.UP: State.OK, Condition.ABSENT: State.ABSENT}


async def look_at_redis(config: RedisConfig, *, clock: Clock, log: FilteringBoundLogger) -> Finding:
    """Connect and ping. A latency over the configured deadline is odd: calls on the way of requests would fail."""
    patient = replace(config, deadline_ms=max(config.deadline_ms, _GENEROUS_MS))
    async with RedisPool.open(patient, clock=clock, log=log) as pool:
        state = await _settled(pool)
    finding = _finding("redis", state, redis_target(config).label)
    if state.latency_ms is not None and state.latency_ms > config.deadline_ms:
        detail = f"{finding.detail}: slower than redis.deadline_ms, {config.deadline_ms:g}"
        return replace(finding, state=State.ODD, detail=detail)
    return finding


async def look_at_postgres(config: PostgresConfig, *, clock: Clock, log: FilteringBoundLogger) -> Finding:
    """Connect, ask the version, and count the migrations that the next start would apply."""
    label = postgres_target(config).label
    async with PostgresPool.open(config, clock=clock, log=log) as pool:
        state = await _settled(pool)
        if state.status is not Status.UP:
            return _finding("postgres", state, label)
        try:
            detail = f"{label}: PostgreSQL {await pool.fetchval('SHOW server_version')}, {await _migrations(pool)}"
        except (PostgresUnavailable, StartError, asyncpg.PostgresError) as error:
            return Finding("postgres", State.DOWN, f"{label}: {error}", state.latency_ms)
    return Finding("postgres", State.OK, detail, state.latency_ms)


async def look_at_upstream(config: UpstreamConfig, *, clock: Clock) -> Finding:
    """Ask the engine's own probe route."""
    name = f"upstream {config.id}"
    row = Row.of(config, Breaker(BreakerPolicy()))
    path = dialect_of(config.engine).probe_path
    began_s = clock.monotonic_s()
    try:
        async with UpstreamClient.running() as client:
            status = await client.probe(row, path, timeout_s=PATIENCE_S)
    except UpstreamError as error:
        return Finding(name, State.DOWN, f"{row.url}: {error}")
    latency_ms = (clock.monotonic_s() - began_s) * 1000
    return Finding(name, _state_of(status), f"{row.url}{path}: {_verdict(status, config)}", latency_ms)


async def look_at_metrics_server(url: str | None, *, clock: Clock) -> Finding:
    """Ask Prometheus for its health."""
    return await _look_at_http("metrics server", url, "/-/healthy", clock=clock)


async def look_at_gateway(url: str | None, *, clock: Clock) -> Finding:
    """Ask the gateway for its health."""
    return await _look_at_http("api gateway", url, "/health", clock=clock)


async def _look_at_http(name: str, url: str | None, path: str, *, clock: Clock) -> Finding:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        check = await http_probe(session, url, path, clock)()
    detail = check.detail if url is None else f"{url}{path}: {check.detail}"
    return Finding(name, _STATES.get(check.condition, State.DOWN), detail, check.latency_ms, required=False)


async def _settled(pool: RedisPool | PostgresPool) -> DependencyState:
    """The state once the first connection had its time to come."""
    state = await pool.check()
    if state.status is Status.UP:
        return state
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await pool.wait_until_up()
    return await pool.check()


def _finding(name: str, state: DependencyState, label: str) -> Finding:
    detail = state.detail if label in state.detail else f"{label}: {state.detail}"
    return Finding(name, State.OK if state.status is Status.UP else State.DOWN, detail, state.latency_ms)


async def _migrations(pool: PostgresPool) -> str:
    """What the next start would do to the schema. Raises `StartError` where it would refuse to."""
    steps = await asyncio.to_thread(packaged)
    if await pool.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return f"{len(steps)} migrations pending"
    applied = await pool.fetch("SELECT number, name, checksum FROM schema_migrations")
    missing(steps, applied)
    pending = len(steps) - len(applied)
    return f"{pending} migrations pending" if pending else "migrations applied"


def _state_of(status: int) -> State:
    if status in _OK:
        return State.OK
    return State.ODD if status in _NOT_FOUND else State.DOWN


def _verdict(status: int, config: UpstreamConfig) -> str:
    if status in _NOT_FOUND:
        return f"answers {status}; is its engine really {config.engine}?"
    return f"answers {status}" if status not in (401, 403) else f"answers {status}; is its api_key right?"
