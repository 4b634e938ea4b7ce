"""A client that leaves stops the generation, and what was generated is known exactly."""

import asyncio
import time

import pytest

from citadel_edge.simulator.timing import Timing

LONG = {"ignore_eos": True, "max_tokens": 3000}
SLOW = Timing(decode_ms=20)
SEEN_WITHIN_S = 0.5  # loopback takes under a millisecond; the rest is room for a busy machine


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after_tokens", [0, 3])
async def test_a_disconnect_is_seen_at_once_and_nothing_is_generated_after_it(simulated, stream, after_tokens):
    timing = SLOW if after_tokens else Timing(prefill_ms=10_000)
    async with simulated(engine="vllm", timing=timing) as client, asyncio.TaskGroup() as group:
        body = client.body(stream=stream, **LONG)
        task = group.create_task(client.post(body, headers={"X-Request-Id": "r1"}))
        await client.sim.until(lambda stats: len(stats.active) == 1 and stats.generated >= after_tokens)
        left_at = time.monotonic()
        task.cancel()
        await client.sim.until(lambda stats: stats.cancelled == 1)
        (record,) = client.sim.stats.find("r1")
        generated = client.sim.stats.generated
        assert 0 <= record.disconnected_at - left_at < SEEN_WITHIN_S
        assert record.ended_at - record.disconnected_at < SEEN_WITHIN_S
        await asyncio.sleep(0.1)
        assert client.sim.stats.generated == generated == record.generated
        assert client.sim.serving.slots.running == 0


async def test_a_disconnect_in_the_queue_frees_the_place(simulated):
    async with simulated(engine="vllm", slots=1, timing=SLOW) as client, asyncio.TaskGroup() as group:
        first = group.create_task(client.post(client.body(**LONG)))
        await client.sim.until(lambda stats: stats.generated >= 1)
        second = group.create_task(client.post(client.body(**LONG)))
        serving = client.sim.serving
        await client.sim.until(lambda _: serving.slots.waiting == 1)
        second.cancel()
        await client.sim.until(lambda stats: stats.cancelled == 1)
        assert (serving.slots.waiting, serving.slots.running) == (0, 1)
        first.cancel()


async def test_a_stream_of_no_delay_can_be_left_too(simulated):
    async with simulated(engine="vllm", context_tokens=10**6) as client:
        body = client.body(stream=True, ignore_eos=True, max_tokens=900_000)
        async with client.open(body) as answer:
            await answer.content.readany()
        await client.sim.until(lambda stats: stats.cancelled == 1)
        assert client.sim.stats.generated < 900_000


async def test_many_that_leave_leave_nothing_behind(simulated):
    async with simulated(engine="vllm", slots=5, timing=SLOW) as client:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.post(client.body(stream=bool(n % 2), **LONG))) for n in range(40)]
            await client.sim.until(lambda stats: len(stats.active) == 40 and stats.generated >= 5)
            for task in tasks:
                task.cancel()
        await client.sim.until(lambda stats: stats.cancelled == 40)
        serving = client.sim.serving
        assert (serving.slots.running, serving.slots.waiting, client.sim.stats.active) == (0, 0, {})
        assert client.sim.stats.generated == sum(record.generated for record in client.sim.stats.records)
        assert (await client.post(client.body(max_tokens=1)))[0] == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_llamacpp_goes_on_generating_a_conversation_without_its_reader(simulated, stream):
    async with simulated(engine="llamacpp", timing=Timing(decode_ms=5)) as client, asyncio.TaskGroup() as group:
        body = client.body(stream=stream, ignore_eos=True, max_tokens=40)
        task = group.create_task(client.post(body, headers={"X-Conversation-Id": "c"}))
        await client.sim.until(lambda stats: stats.generated >= 3)
        task.cancel()
        await client.sim.until(lambda stats: stats.totals()["done"] == 1)
        (record,) = client.sim.stats.records
        assert (record.generated, client.sim.stats.cancelled) == (40, 0)
        assert record.disconnected_at < record.ended_at
