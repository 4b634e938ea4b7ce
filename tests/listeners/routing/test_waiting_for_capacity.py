"""When all replicas are busy a request waits for a place, in a fair order, within its deadline."""

import asyncio

import aiohttp
import pytest

from citadel_edge.config.shape import BudgetConfig, ListenerName, RoutingConfig, TierConfig
from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.timing import Timing
from conversations import ask, idle, said, stream

ACCOUNTS = ListenerName.RATE_LIMITING
SLOW = Timing(first_token_ms=100, decode_ms=5)
ROOMY = BudgetConfig(tasks=256, queue=256)
TIERS = (
    TierConfig(name="low", priority=1),
    TierConfig(name="high", priority=90),
)


def one(**fields):
    return SimulatorOptions(**{"shortest": 10, "longest": 10, "timing": SLOW, **fields})


async def user(served, name, tier):
    """A new user's `Authorization`."""
    url, sent = served.url("/v1/users", ACCOUNTS), {"headers": served.as_admin()}
    async with served.client.post(url, json={"name": name, "tier": tier}, **sent) as answer:
        assert answer.status == 201, await answer.text()
        made = await answer.json()
    async with served.client.post(f"{url}/{made['id']}/keys", json={}, **sent) as answer:
        return {"Authorization": f"Bearer {(await answer.json())['key']}"}


def requests_seen(served):
    return sum(len(sim.stats.records) for sim in served.simulators)


@pytest.mark.parametrize("kind", ["429", "503"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_all_cooling_is_waited_for_and_answered(edge_with, kind, streamed):
    async with edge_with(options=(one(), one())) as served:
        for sim in served.simulators:
            await sim.fault(kind, retry_after_s=1, times=1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        if streamed:
            heard = await stream(served, served.chat())
            assert heard.whole
        else:
            status, answer, _ = await ask(served, served.chat())
            assert (status, bool(said(answer))) == (200, True)
        assert 0.9 <= loop.time() - began < 10
        (row,) = await served.rows()
        assert (row["outcome"], row["tokens_out"]) == ("done", 10)


async def test_a_full_fleet_is_waited_for(edge_with):
    async with edge_with(options=(one(),), slots=1) as served, asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(served, served.chat())) for _ in range(8)]
        await served.simulators[0].until(lambda stats: stats.started == 8, timeout_s=20)
        assert [(await task)[0] for task in tasks] == [200] * 8
        assert {record.outcome.value for record in served.simulators[0].stats.records} == {"done"}
        assert served.simulators[0].serving.slots.running == 0


async def test_a_full_replica_is_never_given_more_than_its_slots(edge_with):
    async with edge_with(options=(one(), one()), slots=2) as served:
        most = [0, 0]

        async def watch():
            while True:
                for number, sim in enumerate(served.simulators):
                    most[number] = max(most[number], len(sim.stats.active))
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            answers = await asyncio.gather(*(ask(served, served.chat()) for _ in range(20)))
            watching.cancel()
        assert [status for status, _, _ in answers] == [200] * 20
        assert most == [2, 2]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_deadline_shorter_than_the_wait_is_told_with_its_reason(edge_with, streamed):
    async with edge_with(options=(one(), one())) as served:
        for sim in served.simulators:
            await sim.fault("429", retry_after_s=20, times=1)
        assert requests_seen(served) == 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        status, answer, headers = await ask(served, served.chat(stream=streamed), X_Citadel_Timeout="0.5")
        assert status in (503, 504)
        assert loop.time() - began < 5
        assert answer["error"]["code"] in ("no_capacity", "deadline_exceeded")
        assert int(headers["Retry-After"]) >= 1
        assert len(answer["error"]["message"]) > 20
        asked = requests_seen(served)
        await asyncio.sleep(1.0)
        assert requests_seen(served) == asked, "nobody waits for the answer any more"
        (row,) = await served.rows()
        assert (row["outcome"], row["tokens_out"], row["cost_usd"]) == ("error", 0, 0)
        await idle(served)


async def test_a_wait_longer_than_configured_ends_with_its_reason(edge_with):
    routing = RoutingConfig(probe_interval_s=0.1, capacity_wait_s=0.5)
    async with edge_with(options=(one(),), changes={"routing": routing}) as served:
        await served.simulators[0].fault("429", retry_after_s=30, times=1)
        status, answer, headers = await asyncio.wait_for(ask(served, served.chat()), 10)
        assert (status, answer["error"]["code"]) == (503, "no_capacity")
        assert 1 <= int(headers["Retry-After"]) <= 30


async def test_who_asks_for_one_thing_is_not_behind_who_asks_for_thirty(edge_with):
    changes = {"tiers": TIERS}
    async with edge_with(options=(one(),), slots=1, budget=ROOMY, changes=changes) as served:
        greedy, modest = await user(served, "greedy", "low"), await user(served, "modest", "low")
        ended = []

        async def wait(name, headers):
            assert (await ask(served, served.chat(), **headers))[0] == 200
            ended.append(name)

        async with asyncio.TaskGroup() as group:
            for _ in range(31):
                group.create_task(wait("greedy", greedy))
            await served.simulators[0].until(lambda stats: len(stats.active) == 1)
            await asyncio.sleep(0.3)
            before = len(ended)
            group.create_task(wait("modest", modest))
        assert len(ended) == 32
        assert ended.index("modest") - before < 8, ended


async def test_a_higher_tier_goes_first(edge_with):
    async with edge_with(options=(one(),), slots=1, budget=ROOMY, changes={"tiers": TIERS}) as served:
        low, high = await user(served, "ada", "low"), await user(served, "bob", "high")
        ended = []

        async def wait(name, headers):
            assert (await ask(served, served.chat(), **headers))[0] == 200
            ended.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(wait("first", low))
            await served.simulators[0].until(lambda stats: len(stats.active) == 1)
            for _ in range(10):
                group.create_task(wait("low", low))
            await asyncio.sleep(0.05)
            for _ in range(10):
                group.create_task(wait("high", high))
        ranks = {
            name: [place for place, ended_name in enumerate(ended) if ended_name == name] for name in ("low", "high")
        }
        assert sum(ranks["high"]) < sum(ranks["low"]), ended
        assert ranks["low"][0] < ranks["high"][-1], "nobody starves"


@pytest.mark.parametrize("streamed", [True, False])
async def test_who_leaves_while_waiting_leaves_nothing_behind(edge_with, streamed):
    async with edge_with(options=(one(timing=Timing(first_token_ms=1500)),), slots=1) as served:
        sim = served.simulators[0]
        async with asyncio.TaskGroup() as group:
            first = group.create_task(ask(served, served.chat()))
            await sim.until(lambda stats: len(stats.active) == 1)
            waiting = [group.create_task(ask(served, served.chat(stream=streamed))) for _ in range(5)]
            await asyncio.sleep(0.3)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            assert (await first)[0] == 200
        await idle(served)
        assert sim.stats.started == 1, "who left was not asked for"
        outcomes = sorted(row["outcome"] for row in await served.rows())
        assert outcomes == ["cancelled"] * 5 + ["done"]
        assert await ask(served, served.chat())
        assert await queue_gauges(served) == {}


async def queue_gauges(served):
    """Gauges of routing that speak of who waits, and are not 0."""
    async with served.client.get(served.url("/metrics")) as answer:
        lines = (await answer.text()).splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if line.startswith("citadel_routing_waiting"))
    return {
        name: value
        for name, value in samples.items()
        if float(value) and not any(part in name for part in ("_bucket", "_sum", "_count", "_total", "_created"))
    }


async def test_a_stream_that_waits_is_kept_warm_and_then_told(edge_with):
    async with edge_with(options=(one(timing=Timing(first_token_ms=11_500)),), slots=1) as served:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(ask(served, served.chat()))
            await served.simulators[0].until(lambda stats: len(stats.active) == 1)
            url, body = served.url("/v1/chat/completions"), served.chat(stream=True)
            timeout = aiohttp.ClientTimeout(total=60, sock_read=20)
            async with served.client.post(url, json=body, headers=served.as_user(), timeout=timeout) as answer:
                assert answer.status == 200
                assert (await answer.content.readline()).startswith(b":")
                answer.close()
            assert served.simulators[0].stats.started == 1
            first.cancel()
        await idle(served, within_s=10)
