"""One process's part in the operations of a fleet, without doors: for tests that need several of them at once."""

from contextlib import asynccontextmanager

import structlog
from prometheus_client import CollectorRegistry

from citadel_edge.accounts.changes import Changes
from citadel_edge.accounts.desk import Actor
from citadel_edge.accounts.directory import Directory
from citadel_edge.config.live import Live
from citadel_edge.config.shape import (
    Config,
    DeploymentConfig,
    ModelConfig,
    PostgresConfig,
    RedisConfig,
    UpstreamConfig,
)
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.operations.operations import Operations
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.storage.redis_pool import RedisPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub


def config(*upstreams, second_model=False):
    """One model on all the upstreams; `second_model` is on the first of them too."""
    deployments = tuple(DeploymentConfig(upstream=name) for name in upstreams)
    models = [ModelConfig(name="one", deployments=deployments)]
    if second_model:
        models.append(ModelConfig(name="org/two:7b", deployments=deployments[:1]))
    return Config(
        environment="test",
        upstreams=tuple(UpstreamConfig(id=name, url=f"http://127.0.0.1:1/{name}") for name in upstreams),
        models=tuple(models),
    )


class Instance:
    """One process's part: its fleet, and the operations on it."""

    def __init__(self, live, fleet, operations, postgres):
        self.live, self.fleet, self.operations, self.postgres = live, fleet, operations, postgres
        self.by = Actor(who="usr_admin", key_id="key_1", request_id="req_1")

    def row(self, name="a"):
        return self.fleet.table.rows[name]

    def breaker(self, name="a"):
        return self.fleet.table.breakers[name].breaker


@asynccontextmanager
async def opened(dsn, redis_url, *upstreams, second_model=False):
    """An instance whose worker does not run yet."""
    clock, log = Clock(), structlog.get_logger()
    live = Live(config(*(upstreams or ("a", "b")), second_model=second_model))
    async with (
        RedisPool.open(RedisConfig(url=redis_url, deadline_ms=500), clock=clock, log=log) as redis,
        PostgresPool.open(PostgresConfig(dsn=dsn, deadline_s=1), clock=clock, log=log) as postgres,
    ):
        directory = Directory(postgres=postgres, redis=redis, clock=clock, log=log)
        fleet = Fleet(live, clock=clock, hub=Hub(clock), log=log, metrics=FleetMetrics(CollectorRegistry()))
        desk = Changes(postgres=postgres, redis=redis, directory=directory, clock=clock)
        operations = Operations(fleet=fleet, desk=desk, postgres=postgres, redis=redis, log=log)
        yield Instance(live, fleet, operations, postgres)
