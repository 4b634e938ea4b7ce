"""Probes on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from citadel_edge.config.shape import Engine
from citadel_edge.fleet.client import UpstreamClient
from citadel_edge.fleet.probes import Probes, Watch
from citadel_edge.fleet.table import Health, Verdict
from citadel_edge.telemetry.clock import Clock
from fleet.rig import Prober, Rig, make_config, make_rig, place


@asynccontextmanager
async def probing(rig: Rig, client: UpstreamClient) -> AsyncIterator[Probes]:
    probes = Probes(rig.fleet, client, rig.config, clock=Clock(), metrics=rig.metrics)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(probes.run())
        yield probes
        task.cancel()


async def until(fact: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not fact():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("engine_name", "path"),
    [
        (Engine.VLLM, "/health"),
        (Engine.SGLANG, "/ready"),
        (Engine.LLAMACPP, "/health"),
        (Engine.OLLAMA, "/api/version"),
        (Engine.TGI, "/health"),
        (Engine.OPENAI, "/v1/models"),
    ],
)
async def test_each_engine_is_asked_its_cheap_question_with_its_key(
    engine: Prober, client: UpstreamClient, engine_name: Engine, path: str
) -> None:
    rig = make_rig(make_config(("a", engine.url), engine=engine_name))
    async with probing(rig, client):
        await until(lambda: rig.fleet.table.rows["a"].healthy)
    assert engine.asked[0] == (path, "Bearer key")
    assert {key for _, key in engine.asked} == {"Bearer key"}
    assert rig.metric("citadel_upstream_probe_seconds_count", upstream="a") is not None


async def test_a_replica_that_turns_bad_leaves_and_comes_back(engine: Prober, client: UpstreamClient) -> None:
    rig = make_rig(make_config(("a", engine.url)))
    row = rig.fleet.table.rows["a"]
    async with probing(rig, client):
        await until(lambda: row.healthy)
        engine.status = 503
        await until(lambda: row.health is Health.UNHEALTHY)
        assert "503" in row.health_detail
        engine.status = 200
        await until(lambda: row.healthy)


@pytest.mark.parametrize(("status", "health"), [(204, Health.HEALTHY), (404, Health.HEALTHY), (405, Health.HEALTHY)])
async def test_a_server_without_that_probe_is_alive(
    engine: Prober, client: UpstreamClient, status: int, health: Health
) -> None:
    engine.status = status
    rig = make_rig(make_config(("a", engine.url)))
    async with probing(rig, client):
        await until(lambda: rig.fleet.table.rows["a"].health is health)


@pytest.mark.parametrize("status", [401, 500, 503, 302])
async def test_a_server_that_refuses_is_not_healthy(engine: Prober, client: UpstreamClient, status: int) -> None:
    engine.status = status
    rig = make_rig(make_config(("a", engine.url)))
    async with probing(rig, client):
        await until(lambda: rig.fleet.table.rows["a"].health is Health.UNHEALTHY)


async def test_nobody_listening_is_known_after_one_probe(client: UpstreamClient) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rig = make_rig(make_config(("a", f"http://127.0.0.1:{port}")))
    probes = Probes(rig.fleet, client, rig.config, clock=Clock(), metrics=rig.metrics)
    row = rig.fleet.table.rows["a"]
    await probes.probe(row, Watch())
    assert row.health is Health.UNHEALTHY
    assert "no connection" in row.health_detail


async def test_a_frozen_server_is_found_out_unless_it_answers_requests(client: UpstreamClient) -> None:
    with socket.socket() as frozen:
        frozen.bind(("127.0.0.1", 0))
        frozen.listen()
        rig = make_rig(make_config(("a", "http://{}:{}".format(*frozen.getsockname()))))
        probes = Probes(rig.fleet, client, rig.config, clock=Clock(), metrics=rig.metrics)
        row = rig.fleet.table.rows["a"]
        rig.fleet.probe_succeeded(row, "ok")
        async with asyncio.TaskGroup() as group:
            probe = group.create_task(probes.probe(row, Watch()))
            await asyncio.sleep(0.2)
            rig.fleet.give_back(rig.fleet.take(place(rig, "a")), Verdict.OK)
            await probe
        assert row.probe_failures == 0
        await probes.probe(row, Watch())
        assert (row.probe_failures, row.health) == (1, Health.HEALTHY)


async def test_probing_follows_the_configuration(engine: Prober, client: UpstreamClient) -> None:
    rig = make_rig(make_config(("a", engine.url)))
    async with probing(rig, client) as probes:
        await until(lambda: rig.fleet.table.rows["a"].healthy)
        rig.config.replace(make_config(("b", engine.url)))
        await until(lambda: rig.fleet.table.rows["b"].healthy)
        await until(lambda: {row.id for row in probes._watched} == {"b"})
        rig.config.replace(make_config())
        await until(lambda: not probes._watched)
        asked = len(engine.asked)
        await asyncio.sleep(0.3)
        assert len(engine.asked) == asked
