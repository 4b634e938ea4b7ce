"""A whole edge for tests, in this process: real PostgreSQL and Valkey, simulated model servers, doors on free ports."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from dataclasses import replace as but
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp

from citadel_edge.accounts.bootstrap import Credentials
from citadel_edge.config.shape import (
    BudgetConfig,
    Config,
    DeploymentConfig,
    Engine,
    HttpConfig,
    ListenerConfig,
    ListenerName,
    ModelConfig,
    PostgresConfig,
    PriceConfig,
    ProcessConfig,
    RedisConfig,
    RoutingConfig,
    TierConfig,
    UpstreamConfig,
)
from citadel_edge.edge import Edge, open_edge
from citadel_edge.fleet.probes import Watch
from citadel_edge.process.doors import Doors, bound_sockets, open_doors
from citadel_edge.process.launch import prepare_accounts
from citadel_edge.process.workers import workers
from citadel_edge.simulator.faults import FaultBook
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import Simulator, running
from citadel_edge.telemetry.logs import Logs

MODEL = "sim-model"


@dataclass(frozen=True, slots=True)
class Served:
    """A running edge and what a client needs to talk to it."""

    edge: Edge
    doors: Doors
    keys: Credentials
    simulators: tuple[Simulator, ...]
    client: aiohttp.ClientSession
    log: StringIO

    def url(self, path: str, listener: ListenerName = ListenerName.ROUTING) -> str:
        return self.doors[listener].url + path

    def replica(self, upstream: str) -> Simulator:
        """The simulator behind an upstream's id."""
        return self.simulators[int(upstream.rpartition("-")[2])]

    def as_user(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys.demo_key}"}

    def as_admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys.admin_key}"}

    def chat(self, **fields: Any) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": "Say something."}], **fields}

    async def rows(self, query: str = "SELECT * FROM usage_events ORDER BY created_at", *args: Any) -> list[Any]:
        await self.edge.ledger.flush(10)
        return await self.edge.postgres.fetch(query, *args)


def config_for(
    simulators: tuple[Simulator, ...],
    *,
    dsn: str,
    redis_url: str,
    data_dir: Path,
    budget: BudgetConfig | None = None,
    slots: int | None = None,
    **changes: Any,
) -> Config:
    """One model on all the simulators; `slots` as the operator says them, for each."""
    listener = ListenerConfig(port=0, budget=budget or BudgetConfig())
    config = Config(
        environment="test",
        data_dir=data_dir,
        listeners=dict.fromkeys(ListenerName, listener),
        redis=RedisConfig(url=redis_url, deadline_ms=500),
        postgres=PostgresConfig(dsn=dsn),
        upstreams=tuple(
            UpstreamConfig(id=f"sim-{n}", url=sim.url, engine=Engine(sim.options.engine.value), slots=slots)
            for n, sim in enumerate(simulators)
        ),
        models=(
            ModelConfig(
                name=MODEL,
                aliases=("sim-alias",),
                deployments=tuple(DeploymentConfig(upstream=f"sim-{n}") for n in range(len(simulators))),
                price=PriceConfig(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0),
            ),
        )
        if simulators
        else (),
        tiers=(TierConfig(name="free", requests_per_minute=10**9, tokens_per_minute=10**9, concurrent=10**6),),
        routing=RoutingConfig(probe_interval_s=0.1),
        process=ProcessConfig(grace_s=5),
        http=HttpConfig(body_timeout_s=2),
    )
    return but(config, **changes)


@asynccontextmanager
async def serving(
    *,
    dsn: str,
    redis_url: str,
    data_dir: Path,
    options: tuple[SimulatorOptions, ...] = (SimulatorOptions(),),
    budget: BudgetConfig | None = None,
    slots: int | None = None,
    faults: FaultBook | None = None,
    changes: Mapping[str, Any] | None = None,
    beside: Served | None = None,
) -> AsyncIterator[Served]:
    """The whole edge, with its accounts made and its replicas probed; the replicas may share a book of faults.

    `beside`: it is a further instance of that one's service, over the same databases and model servers.

    Asyncio's debugging, which the rooms' own tests have, is off: here it takes three of four seconds.
    """
    asyncio.get_running_loop().set_debug(False)
    async with AsyncExitStack() as stack:
        simulators = (
            beside.simulators
            if beside
            else tuple([await stack.enter_async_context(running(each, faults=faults)) for each in options])
        )
        config = config_for(
            simulators,
            dsn=dsn,
            redis_url=redis_url,
            data_dir=data_dir,
            budget=budget,
            slots=slots,
            **dict(changes or {}),
        )
        log = StringIO()
        logs = stack.enter_context(Logs.open(config.logs, stream=log))
        bound = await stack.enter_async_context(bound_sockets(config, {}))
        edge = await stack.enter_async_context(open_edge(config, logs=logs, data_dir=data_dir))
        await edge.postgres.wait_until_up()
        made = await prepare_accounts(edge)
        keys = made or (beside and beside.keys)
        assert keys
        for row in edge.fleet.table.rows.values():
            await edge.probes.probe(row, Watch())
        await stack.enter_async_context(workers(edge))
        await edge.board.look_once()
        doors = await stack.enter_async_context(open_doors(edge, bound))
        connector = aiohttp.TCPConnector(limit=0)
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Served(edge, doors, keys, simulators, client, log)
