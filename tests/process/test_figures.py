"""What the hub's METRICS say of a running edge."""

import asyncio
from functools import partial

import pytest

from citadel_edge.config.shape import ListenerName
from citadel_edge.process.figures import figures, resident_bytes, sample
from citadel_edge.telemetry.hub import Topic
from edges import serving


@pytest.fixture
def edge_with(migrated_dsn, redis_url, tmp_path):
    return partial(serving, dsn=migrated_dsn, redis_url=redis_url, data_dir=tmp_path)


async def test_an_operators_page_finds_what_it_needs_once_a_second(edge_with):
    async with edge_with() as served:
        with served.edge.hub.subscribe([Topic.METRICS]) as feed:
            first = await anext(feed)
            before = sample(served.edge)
            for stream in (True, False):
                body = served.chat(stream=stream)
                url = served.url("/v1/chat/completions")
                async with served.client.post(url, json=body, headers=served.as_user()) as answer:
                    assert answer.status == 200
                    await answer.read()
            async with served.client.get(served.url("/v1/events", ListenerName.STREAMING), headers=served.as_admin()):
                second = await anext(feed)
                resident = await asyncio.to_thread(resident_bytes)
                shown = figures(served.edge, before, sample(served.edge), resident=resident)
    assert 0.5 < second.at - first.at < 3
    assert set(first.payload) == set(second.payload) == set(shown)
    assert shown["requests"]["by_outcome_per_s"]["done"] * shown["window_s"] == pytest.approx(2, rel=0.01)
    assert shown["requests"]["ttft_ms"]["p50"] > 0
    assert shown["requests"]["duration_ms"]["p99"] > 0
    assert shown["tokens"]["in_per_s"] > 0 < shown["tokens"]["out_per_s"]
    assert shown["cost_usd_per_s"] > 0
    assert shown["process"]["resident_bytes"] > 10**6
    assert shown["process"]["cpu"] > 0
    assert shown["streams"]["connections"] == {"sse": 1, "websocket": 0}
    assert shown["listeners"]["streaming-api"]["state"] == "running"
    assert shown["upstreams"]["sim-0"] == {
        "health": "healthy",
        "state": "active",
        "breaker": "closed",
        "in_flight": 0,
        "slots": served.edge.fleet.table.rows["sim-0"].slots,
    }
    assert shown["limits"] == {"degraded": False}
    assert shown["dependencies"]["redis"] == shown["dependencies"]["postgres"] == "up"
    assert shown["subscribers"]["metrics"] == 2


async def test_an_eager_reader_gets_them_more_often(edge_with):
    async with edge_with(options=()) as served:
        with served.edge.hub.subscribe([Topic.METRICS], metrics_every_s=0.2) as feed:
            await anext(feed)
            await anext(feed)
            loop = asyncio.get_running_loop()
            began = loop.time()
            for _ in range(5):
                await anext(feed)
            assert 0.7 < loop.time() - began < 3
