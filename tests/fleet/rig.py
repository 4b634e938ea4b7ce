"""A fleet and what it tells, and a tiny engine to probe."""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CollectorRegistry

from citadel_edge.config.live import Live
from citadel_edge.config.shape import (
    Config,
    DeploymentConfig,
    Engine,
    ModelConfig,
    RoutingConfig,
    Secret,
    UpstreamConfig,
)
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.metrics import FleetMetrics
from citadel_edge.fleet.table import Deployment
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.hub import Hub


@dataclass
class Lines:
    """A log in a list."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, /, **fields: object) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, /, **fields: object) -> None:
        self.lines.append(("warning", event, fields))


@dataclass
class Rig:
    """The fleet with its surroundings."""

    config: Live[Config]
    fleet: Fleet
    hub: Hub
    log: Lines
    registry: CollectorRegistry
    metrics: FleetMetrics
    clock: Clock

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def make_config(*upstreams: tuple[str, str], engine: Engine = Engine.VLLM, interval_s: float = 0.05) -> Config:
    """Upstreams by id and URL, all serving the model `m`."""
    return Config(
        upstreams=tuple(
            UpstreamConfig(id=name, url=url, engine=engine, api_key=Secret("key")) for name, url in upstreams
        ),
        models=(ModelConfig(name="m", deployments=tuple(DeploymentConfig(upstream=name) for name, _ in upstreams)),)
        if upstreams
        else (),
        routing=RoutingConfig(probe_interval_s=interval_s),
    )


def make_rig(config: Config) -> Rig:
    clock = Clock()
    live, hub, log, registry = Live(config), Hub(clock), Lines(), CollectorRegistry()
    metrics = FleetMetrics(registry)
    fleet = Fleet(live, clock=clock, hub=hub, log=log, metrics=metrics, rng=lambda: 0.5)
    return Rig(live, fleet, hub, log, registry, metrics, clock)


def place(rig: Rig, upstream: str, model: str = "m") -> Deployment:
    return next(one for one in rig.fleet.table.deployments(model) if one.row.id == upstream)


@dataclass
class Prober:
    """An engine that answers every GET with `status` and `body`, except paths that `hang` until the `thaw`."""

    status: int = 200
    url: str = ""
    body: bytes = b"x" * 100_000
    hang: frozenset[str] = frozenset()
    thaw: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, request.headers.get("Authorization")))
        if request.path in self.hang:
            await self.thaw.wait()
        return web.Response(status=self.status, body=self.body)
