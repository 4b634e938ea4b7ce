"""Slots, queues, gauges, the prefix cache and time."""

import asyncio
import re
import time

import pytest

from citadel_edge.simulator.timing import Timing

SLOW = Timing(decode_ms=20)
NAMES = {
    "vllm": ("vllm:num_requests_running", "vllm:num_requests_waiting"),
    "sglang": ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
    "llamacpp": ("llamacpp:requests_processing", "llamacpp:requests_deferred"),
    "tgi": ("tgi_batch_current_size", "tgi_queue_size"),
}


async def gauges(client):
    text = (await client.get("/metrics"))[1].decode()
    samples = re.findall(r"^([a-z_:]+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in samples}


async def busy(group, client, requests):
    """Start requests that run until the group is cancelled."""
    body = client.body(ignore_eos=True, max_tokens=3000)
    tasks = [group.create_task(client.post(body)) for _ in range(requests)]
    await client.sim.until(lambda stats: len(stats.active) == requests)
    serving = client.sim.serving
    await client.sim.until(lambda _: serving.slots.running + serving.slots.waiting == requests)
    return tasks


@pytest.mark.parametrize(("engine", "names"), NAMES.items())
async def test_the_engines_own_gauges_show_running_and_waiting(simulated, engine, names):
    async with simulated(engine=engine, slots=2, timing=SLOW) as client, asyncio.TaskGroup() as group:
        tasks = await busy(group, client, 5)
        values = await gauges(client)
        assert [values[name] for name in names] == [2, 3]
        for task in tasks:
            task.cancel()
        await client.sim.until(lambda stats: stats.cancelled == 5)
        values = await gauges(client)
        assert [values[name] for name in names] == [0, 0]


async def test_key_value_memory_fills_with_prompt_and_answer(simulated):
    async with simulated(engine="vllm", cache_blocks=10, timing=SLOW) as client, asyncio.TaskGroup() as group:
        (task,) = await busy(group, client, 1)
        await client.sim.until(lambda stats: stats.generated >= 4)
        held = (await gauges(client))["vllm:kv_cache_usage_perc"]
        assert 7 / 160 <= held <= 1
        task.cancel()
        await client.sim.until(lambda stats: stats.cancelled == 1)
        assert (await gauges(client))["vllm:kv_cache_usage_perc"] == 0


async def test_sglang_has_two_prefixes_and_llamacpp_a_switch(simulated):
    async with simulated(engine="sglang", metrics_prefix="sglang_") as client:
        assert "sglang_num_running_reqs" in await gauges(client)
    async with simulated(engine="llamacpp", metrics=False) as client:
        assert (await client.get("/metrics"))[0] == 501


@pytest.mark.parametrize("engine", ["ollama", "openai"])
async def test_who_has_no_metrics_has_none(simulated, engine):
    async with simulated(engine=engine) as client:
        assert (await client.get("/metrics"))[0] == 404


@pytest.mark.parametrize(("engine", "status"), [("ollama", 503), ("tgi", 429), ("vllm", 503)])
async def test_past_the_queue_the_engine_refuses_at_once(simulated, engine, status):
    async with simulated(engine=engine, slots=1, queue=2, timing=SLOW) as client, asyncio.TaskGroup() as group:
        tasks = await busy(group, client, 3)
        assert (await client.post(client.body()))[0] == status
        assert (await client.post(client.body(stream=True)))[0] == status
        for task in tasks:
            task.cancel()


async def test_the_engines_own_queues(simulated):
    for engine, slots, queue in [("ollama", 1, 512), ("tgi", 32, 96), ("vllm", 256, None), ("llamacpp", 4, None)]:
        async with simulated(engine=engine) as client:
            assert (client.sim.serving.slots.capacity, client.sim.serving.slots.queue_limit) == (slots, queue)


async def test_the_queue_is_served_in_its_order(simulated):
    async with simulated(engine="vllm", slots=1, timing=Timing(decode_ms=3)) as client, asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(client.post(client.body(max_tokens=3), headers={"X-Request-Id": str(number)}))
            await client.sim.until(lambda stats, number=number: stats.started == number + 1)
        await client.sim.until(lambda stats: stats.totals()["done"] == 4)
        order = sorted(client.sim.stats.records, key=lambda record: record.ended_at)
    assert [record.id for record in order] == ["0", "1", "2", "3"]


async def test_a_known_prefix_is_read_faster_and_shows_in_usage_and_metrics(simulated):
    async with simulated(engine="vllm", timing=Timing(prefill_ms=2)) as client:
        body = client.body("word " * 160, max_tokens=1)
        started = time.monotonic()
        _, cold = await client.post(body)
        cold_s = time.monotonic() - started
        _, warm = await client.post(body)
        values = await gauges(client)
    cached = warm["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cold["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert cold["usage"]["prompt_tokens"] - 17 <= cached < cold["usage"]["prompt_tokens"]
    assert cold_s >= 0.3
    first, second = client.sim.stats.records
    assert second.first_token_at - second.arrived_at < first.first_token_at - first.arrived_at
    assert values["vllm:prefix_cache_hits_total"] == cached


async def test_the_next_turn_of_a_conversation_hits_what_was_said(simulated):
    async with simulated(engine="sglang") as client:
        body = client.body("word " * 40)
        answer = await client.stream(body)
        turns = [*body["messages"], {"role": "assistant", "content": answer.text}, {"role": "user", "content": "more"}]
        _, second = await client.post(body | {"messages": turns})
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= 40 + 16


async def test_tokens_come_at_their_pace_and_slower_in_a_crowd(simulated):
    timing = Timing(decode_ms=10, batch_slowdown=1.0)
    async with simulated(engine="vllm", timing=timing) as client:
        body = client.body(max_tokens=10, ignore_eos=True)
        await client.post(body)
        await asyncio.gather(*[client.post(body) for _ in range(3)])
        alone, *crowd = [record.ended_at - record.first_token_at for record in client.sim.stats.records]
    assert alone >= 0.09
    assert min(crowd) >= 0.2


@pytest.mark.parametrize(("engine", "early"), [("vllm", True), ("tgi", True), ("llamacpp", False), ("ollama", False)])
async def test_headers_of_a_stream_come_before_the_first_token_where_the_engine_does_so(simulated, engine, early):
    async with simulated(engine=engine) as client:
        await client.sim.fault("slow_first_token", delay_s=30)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(client.open(client.body(stream=True)).__aenter__())
            await client.sim.until(lambda stats: len(stats.active) == 1)
            done, _ = await asyncio.wait([task], timeout=0.5)
            assert bool(done) is early
            if done:
                task.result().close()
            task.cancel()
