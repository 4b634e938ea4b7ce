"""Replicas whose gauges lie: a figure that stands still loses its say, and everybody goes on being used."""

import asyncio
from collections import Counter

import pytest

from citadel_edge.config.shape import RoutingConfig
from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.timing import Timing
from conversations import ask, idle

CLIENTS = 12
LASTS_S = 8.0
PROBED = RoutingConfig(probe_interval_s=0.25)
TIGHT = {"kv_usage": 0.99}
FULL = {"running": 16, "waiting": 10, "kv_usage": 0.99}
EMPTY = {"running": 0, "waiting": 0, "kv_usage": 0.0}


def replica(engine):
    return SimulatorOptions(
        engine=Engine(engine), slots=16, shortest=6, longest=6, timing=Timing(first_token_ms=30, decode_ms=6)
    )


async def shares(served, lasts_s):
    """Ask without pause for so long; by replica, how many were served in each half, and how many failed."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    halves = [Counter(), Counter()]
    failed = []

    async def client(number):
        turn = 0
        while loop.time() - began < lasts_s:
            content = f"{number}: {turn}"
            turn += 1
            status, answer, headers = await ask(served, served.chat(messages=[{"role": "user", "content": content}]))
            if status == 200:
                halves[loop.time() - began > lasts_s / 2][headers["X-Citadel-Upstream"]] += 1
            else:
                failed.append(answer)

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number))
    return halves, failed


@pytest.mark.parametrize("engines", [("vllm", "vllm", "vllm"), ("vllm", "sglang", "tgi")], ids=["one", "mixed"])
async def test_stuck_gauges_take_no_replica_out_and_give_none_all(edge_with, engines):
    options = tuple(replica(engine) for engine in engines)
    async with edge_with(options=options, changes={"routing": PROBED}) as served:
        stuck, empty, _ = served.simulators
        stuck.serving.stick_gauges(**TIGHT)
        empty.serving.stick_gauges(**EMPTY)
        await asyncio.sleep(4 * PROBED.probe_interval_s)  # so that the lies are known before the first request
        (first, second), failed = await shares(served, LASTS_S)
        assert failed == []
        equal = sum(second.values()) / len(options)
        assert set(second) == {"sim-0", "sim-1", "sim-2"}
        assert all(count >= equal / 2 for count in second.values()), (first, second)
        await idle(served)


async def test_a_queue_that_stands_still_is_tried_again(edge_with):
    """It is avoided at first, as it should be; but a figure that never moves is no queue."""
    async with edge_with(options=(replica("vllm"),) * 3, changes={"routing": PROBED}) as served:
        served.simulators[0].serving.stick_gauges(**FULL)
        await asyncio.sleep(4 * PROBED.probe_interval_s)
        (first, second), failed = await shares(served, 16.0)
        assert failed == []
        assert second["sim-0"] >= sum(second.values()) / 3 / 10, (first, second)


async def test_a_replica_that_was_truly_full_is_used_again_when_it_is_not(edge_with):
    options = (replica("vllm"), replica("vllm"))
    async with edge_with(options=options, changes={"routing": PROBED}) as served:
        served.simulators[0].serving.stick_gauges(**FULL)
        await asyncio.sleep(4 * PROBED.probe_interval_s)
        served.simulators[0].serving.wrong_gauges.clear()
        await asyncio.sleep(4 * PROBED.probe_interval_s)
        (first, second), failed = await shares(served, 3.0)
        assert failed == []
        assert (first + second)["sim-0"] >= sum((first + second).values()) / 4


async def test_a_gauge_that_is_no_number_is_no_gauge(edge_with):
    async with edge_with(options=(replica("vllm"), replica("vllm")), changes={"routing": PROBED}) as served:
        served.simulators[0].serving.stick_gauges(running=float("nan"), waiting=float("inf"), kv_usage=-7.0)
        await asyncio.sleep(4 * PROBED.probe_interval_s)
        (first, second), failed = await shares(served, 3.0)
        assert failed == []
        assert min((first + second)[name] for name in ("sim-0", "sim-1")) >= sum((first + second).values()) / 4


async def test_an_engine_without_metrics_is_served_as_well(edge_with):
    quiet = SimulatorOptions(
        engine=Engine.LLAMACPP, slots=16, metrics=False, shortest=6, longest=6, timing=Timing(decode_ms=10)
    )
    loud = SimulatorOptions(engine=Engine.LLAMACPP, slots=16, shortest=6, longest=6, timing=Timing(decode_ms=10))
    async with edge_with(options=(quiet, loud), changes={"routing": PROBED}) as served:
        (first, second), failed = await shares(served, 2.0)
        assert failed == []
        assert min((first + second)[name] for name in ("sim-0", "sim-1")) >= sum((first + second).values()) / 4
