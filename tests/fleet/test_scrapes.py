"""What is learned of each engine, over sockets, from servers that speak its dialect."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession

from citadel_edge.config.shape import Config, DeploymentConfig, Engine, ModelConfig, UpstreamConfig
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.gauges import Reading
from citadel_edge.fleet.probes import Probes, Watch
from citadel_edge.fleet.row import Row
from citadel_edge.fleet.table import Health
from citadel_edge.simulator.options import Engine as SimulatedEngine
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import Simulator, running
from citadel_edge.simulator.timing import Timing
from fleet.rig import Prober, Rig, make_config, make_rig, place


@asynccontextmanager
async def looking(
    client: UpstreamClient, engine: Engine, **options: object
) -> AsyncIterator[tuple[Rig, Row, Simulator, Probes]]:
    """A simulated server, its row, and a prober that is asked by hand."""
    wanted = SimulatorOptions(engine=SimulatedEngine(engine.value), model="sim", **options)  # type: ignore[arg-type]
    async with running(wanted) as sim:
        config = Config(
            upstreams=(UpstreamConfig(id="a", url=sim.url, engine=engine),),
            models=(ModelConfig(name="m", deployments=(DeploymentConfig(upstream="a", model="sim"),)),),
        )
        rig = make_rig(config)
        yield (
            rig,
            rig.fleet.table.rows["a"],
            sim,
            Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics),
        )


async def until(fact: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not fact():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("engine", "slots"),
    [
        (Engine.VLLM, 256),  # it does not tell
        (Engine.SGLANG, 5),
        (Engine.LLAMACPP, 5),
        (Engine.OLLAMA, 1),  # it does not tell
        (Engine.TGI, 5),
        (Engine.OPENAI, 64),
    ],
)
async def test_slots_and_contexts_are_learned(client: UpstreamClient, engine: Engine, slots: int) -> None:
    async with looking(client, engine, slots=5, queue=0, context_tokens=3000) as (_, row, _, probes):
        await probes.probe(row, Watch())
        assert row.health is Health.HEALTHY
        assert row.slots == slots
        assert row.context_tokens.get("sim") == (None if engine is Engine.OPENAI else 3000)


@pytest.mark.parametrize(
    ("engine", "options", "kv"),
    [
        (Engine.VLLM, {}, 0.97),
        (Engine.VLLM, {"old_gauges": True}, 0.97),
        (Engine.SGLANG, {}, 0.97),
        (Engine.SGLANG, {"metrics_prefix": "sglang_"}, 0.97),
        (Engine.LLAMACPP, {}, None),
        (Engine.TGI, {}, None),
    ],
)
async def test_load_is_read(
    client: UpstreamClient, engine: Engine, options: dict[str, object], kv: float | None
) -> None:
    async with looking(client, engine, **options) as (rig, row, sim, probes):
        sim.serving.stick_gauges(running=7, waiting=3, kv_usage=0.97)
        rig.fleet.take(place(rig, "a"))
        await probes.probe(row, Watch())
        assert row.gauges.reading == Reading(7, 3, kv)
        assert row.gauges.foreign(row.gauges.read_at) == min(9, row.slots)


async def test_calls_of_our_own_are_no_load_of_others(client: UpstreamClient) -> None:
    slow = Timing(first_token_ms=5000.0)
    async with (
        looking(client, Engine.VLLM, timing=slow) as (rig, row, sim, probes),
        ClientSession() as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(3):
            rig.fleet.take(place(rig, "a"))
        calls = [group.create_task(ask(session, sim.url)) for _ in range(4)]
        await until(lambda: sim.serving.snapshot().running == 4)
        await probes.probe(row, Watch())
        assert row.gauges.reading is not None
        assert row.gauges.reading.running == 4
        assert row.gauges.foreign(row.gauges.read_at) == 1
        for call in calls:
            call.cancel()


async def ask(session: ClientSession, url: str) -> None:
    body = {"model": "sim", "messages": [{"role": "user", "content": "hello"}]}
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        await answer.read()


async def test_metrics_that_are_switched_off_are_left_alone(client: UpstreamClient) -> None:
    async with looking(client, Engine.LLAMACPP, metrics=False) as (rig, row, _, probes):
        rig.fleet.take(place(rig, "a"))
        watch = Watch()
        for _ in range(4):
            assert await probes.probe(row, watch)
        assert (row.health, row.gauges.reading) == (Health.HEALTHY, None)
        assert rig.metric("citadel_upstream_scrape_failures_total", upstream="a") == 1
        assert watch.due.load_at > rig.clock.monotonic_s() + 30


async def test_an_idle_llamacpp_is_let_sleep(engine: Prober, client: UpstreamClient) -> None:
    rig = make_rig(make_config(("a", engine.url), engine=Engine.LLAMACPP))
    row, watch = rig.fleet.table.rows["a"], Watch()
    probes = Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics)
    await probes.probe(row, watch)
    assert "/metrics" not in [path for path, _ in engine.asked]
    ticket = rig.fleet.take(place(rig, "a"))
    await probes.probe(row, watch)
    assert "/metrics" in [path for path, _ in engine.asked]
    engine.asked.clear()
    watch.due.load_at = 0.0
    row.sleeping = True
    await probes.probe(row, watch)
    assert "/metrics" not in [path for path, _ in engine.asked]
    assert ticket.open


@pytest.mark.parametrize(
    "body", [b"", b"no metrics", b"\x00" * 100, b'{"data": 7}', b"vllm:num_requests_running NaN\n"]
)
async def test_a_page_that_says_nothing_leaves_the_row_healthy(
    engine: Prober, client: UpstreamClient, body: bytes
) -> None:
    engine.body = body
    rig = make_rig(make_config(("a", engine.url)))
    row = rig.fleet.table.rows["a"]
    probes = Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics)
    assert await probes.probe(row, Watch())
    assert (row.health, row.gauges.reading, row.slots) == (Health.HEALTHY, None, 256)


async def test_a_page_that_hangs_makes_nothing_unhealthy_and_is_asked_for_later(
    engine: Prober, client: UpstreamClient
) -> None:
    engine.hang = frozenset({"/metrics"})
    rig = make_rig(make_config(("a", engine.url)))
    row, watch = rig.fleet.table.rows["a"], Watch()
    probes = Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics)
    assert not await probes.probe(row, watch)
    assert await probes.probe(row, watch)
    assert (row.health, row.probe_failures) == (Health.HEALTHY, 0)
    assert [path for path, _ in engine.asked].count("/metrics") == 1
    engine.thaw.set()


async def test_only_the_start_of_an_endless_page_is_read(engine: Prober, client: UpstreamClient) -> None:
    engine.body = b"vllm:num_requests_running 3\n" + b"# padding\n" * 400_000
    rig = make_rig(make_config(("a", engine.url)))
    row = rig.fleet.table.rows["a"]
    status, page = await client.fetch(row, "/metrics", timeout_s=10, limit=2**20)
    assert (status, len(page)) == (200, 2**20)
    assert page.startswith(b"vllm:num_requests_running 3\n")


async def test_facts_that_hang_are_asked_for_later_and_load_is_read_meanwhile(
    engine: Prober, client: UpstreamClient
) -> None:
    engine.hang = frozenset({"/v1/models"})
    engine.body = b"vllm:num_requests_running 3\n"
    rig = make_rig(make_config(("a", engine.url)))
    row, watch = rig.fleet.table.rows["a"], Watch()
    probes = Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics)
    assert not await probes.probe(row, watch)
    assert await probes.probe(row, watch)
    assert (row.health, row.gauges.reading) == (Health.HEALTHY, Reading(3, 0))
    engine.thaw.set()


async def test_a_server_that_sleeps_is_asked_every_round_whether_it_woke(
    engine: Prober, client: UpstreamClient
) -> None:
    engine.body = b'{"total_slots": 2, "is_sleeping": true}'
    rig = make_rig(make_config(("a", engine.url), engine=Engine.LLAMACPP))
    row, watch = rig.fleet.table.rows["a"], Watch()
    probes = Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics)
    for _ in range(2):
        await probes.probe(row, watch)
        assert row.sleeping
    engine.body = b'{"total_slots": 2, "is_sleeping": false}'
    await probes.probe(row, watch)
    assert not row.sleeping
    asked = len(engine.asked)
    await probes.probe(row, watch)
    assert [path for path, _ in engine.asked[asked:]] == ["/health"]
