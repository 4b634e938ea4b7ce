"""Probes on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from citadel_edge.config.shape import Engine
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.client import CallTimeouts, UpstreamClient
from citadel_edge.fleet.probes import LONG_PATIENCE_S, PATIENCE_S, Probes, Watch
from citadel_edge.fleet.row import Row
from citadel_edge.fleet.table import Health, Verdict
from citadel_edge.simulator.conduct import State
from citadel_edge.simulator.faults import Fault, FaultKind, Match
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import running
from citadel_edge.simulator.timing import Timing
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


@asynccontextmanager
async def frozen_rig(*beside: tuple[str, str], interval_s: float = 0.05) -> AsyncIterator[tuple[Rig, Row]]:
    """A row that was healthy and whose server takes connections and answers nothing, beside others."""
    with socket.socket() as frozen:
        frozen.bind(("127.0.0.1", 0))
        frozen.listen()
        address = "http://{}:{}".format(*frozen.getsockname())
        rig = make_rig(make_config(("a", address), *beside, interval_s=interval_s))
        row = rig.fleet.table.rows["a"]
        rig.fleet.probe_succeeded(row, "ok")
        yield rig, row


async def test_a_frozen_server_is_found_out_unless_it_answers_requests(client: UpstreamClient) -> None:
    async with frozen_rig() as (rig, row):
        probes = Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics)
        async with asyncio.TaskGroup() as group:
            probe = group.create_task(probes.probe(row, Watch()))
            await asyncio.sleep(0.2)
            rig.fleet.give_back(rig.fleet.take(place(rig, "a")), Verdict.OK)
            assert not await probe
        assert row.probe_failures == 0
        await probes.probe(row, Watch())
        assert (row.probe_failures, row.health) == (1, Health.HEALTHY)


async def test_any_byte_of_a_call_shows_that_a_row_lives(client: UpstreamClient) -> None:
    async with frozen_rig() as (rig, row):
        probes = Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics)
        async with asyncio.TaskGroup() as group:
            probe = group.create_task(probes.probe(row, Watch()))
            await asyncio.sleep(0.2)
            row.last_byte_at = rig.clock.monotonic_s()
            await probe
        assert row.probe_failures == 0


async def test_the_silent_are_asked_again_at_once_and_a_frozen_row_is_soon_known(
    engine: Prober, client: UpstreamClient
) -> None:
    async with frozen_rig(("b", engine.url), interval_s=60) as (rig, row):
        ticket = rig.fleet.take(place(rig, "a"))
        told: list[UpstreamError] = []
        ticket.on_lost = told.append
        began = rig.clock.monotonic_s()
        async with probing(rig, client):
            await until(lambda: row.health is Health.UNHEALTHY)
        assert rig.clock.monotonic_s() - began < 5 * 2 * PATIENCE_S
        assert row.probe_failures >= 2
        assert [error.fault for error in told] == [UpstreamFault.LOST]


async def test_a_row_that_is_slow_by_nature_is_waited_for(client: UpstreamClient) -> None:
    rig = make_rig(make_config(("a", "http://127.0.0.1:1")))
    row = rig.fleet.table.rows["a"]
    probes = Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics)
    assert probes._patience_s(row) == LONG_PATIENCE_S
    rig.fleet.probe_succeeded(row, "ok")
    assert probes._patience_s(row) == PATIENCE_S
    row.probe_s = 0.8
    assert probes._patience_s(row) == 1.6


async def test_a_row_whose_calls_are_overdue_is_asked_out_of_turn(engine: Prober, client: UpstreamClient) -> None:
    rig = make_rig(make_config(("a", engine.url), interval_s=60))
    row = rig.fleet.table.rows["a"]
    async with probing(rig, client):
        await until(lambda: row.healthy)
        await until(lambda: row.gauges.reading is None and len(engine.asked) >= 3)
        asked = len(engine.asked)
        rig.fleet.take(place(rig, "a"), expected_s=-10.0)
        await until(lambda: len(engine.asked) > asked)
        asked = len(engine.asked)
        await asyncio.sleep(0.8)
        assert len(engine.asked) == asked  # once an interval


async def test_a_held_up_loop_is_no_fault_of_the_row(engine: Prober, client: UpstreamClient) -> None:
    rig = make_rig(make_config(("a", engine.url)))
    row, watch = rig.fleet.table.rows["a"], Watch()
    rig.fleet.probe_succeeded(row, "ok")
    probes = Probes(rig.fleet, client, rig.config, clock=rig.clock, metrics=rig.metrics)
    error = UpstreamError(UpstreamFault.CONNECT_TIMEOUT, "no answer")
    assert not probes._failed(row, watch, error, asked=rig.clock.monotonic_s() - 3.0, patience_s=0.75)
    assert row.probe_failures == 0
    assert not probes._failed(row, watch, error, asked=rig.clock.monotonic_s() - 3.0, patience_s=0.75)
    assert row.probe_failures == 1


@pytest.mark.parametrize("what", ["freeze", "kill"])
async def test_a_server_that_freezes_or_dies_leaves_and_comes_back(client: UpstreamClient, what: str) -> None:
    async with running(SimulatorOptions()) as sim:
        rig = make_rig(make_config(("a", sim.url), interval_s=0.2))
        row = rig.fleet.table.rows["a"]
        async with probing(rig, client):
            await until(lambda: row.healthy and row.gauges.reading is not None)
            assert row.warmth(rig.clock.monotonic_s()) == 1.0
            await sim.become(State(frozen=True) if what == "freeze" else State(alive=False))
            await until(lambda: row.health is Health.UNHEALTHY)
            await sim.become(State(frozen=False) if what == "freeze" else State(alive=True))
            await until(lambda: row.healthy)
            assert row.warmth(rig.clock.monotonic_s()) < 1.0


async def test_a_busy_server_that_answers_its_calls_stays_healthy(client: UpstreamClient) -> None:
    probe = Fault(kind=FaultKind.FREEZE, match=Match(path="/health"))
    slow = SimulatorOptions(timing=Timing(decode_ms=50), shortest=50, longest=50)
    async with running(slow) as sim:
        rig = make_rig(make_config(("a", sim.url), interval_s=0.1))
        row = rig.fleet.table.rows["a"]
        async with probing(rig, client):
            await until(lambda: row.healthy)
            await sim.put(probe)
            ticket = rig.fleet.take(place(rig, "a"))
            body = b'{"model": "sim-model", "stream": true, "messages": [{"role": "user", "content": "hello"}]}'
            timeouts = CallTimeouts(connect_s=5, first_token_s=5, idle_s=5)
            answer = await client.open(
                row, "/v1/chat/completions", body, headers={}, timeouts=timeouts, stream=True, ticket=ticket
            )
            async for _ in answer.chunks():
                assert row.healthy
            answer.abort()
            assert ticket.last_byte_at == row.last_byte_at > ticket.taken_at
            await until(lambda: row.health is Health.UNHEALTHY)


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
