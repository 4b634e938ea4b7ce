"""The whole program on a cluster, and behind sentinels: it answers, limits, and goes on when a primary dies."""

import asyncio
import re

import pytest

from citadel_edge.config.shape import ListenerName, OnRedisDown, TierConfig
from citadel_edge.limits.headers import DEGRADED
from citadel_edge.simulator.options import SimulatorOptions
from clusters import running_cluster, running_sentinels, until
from conversations import ask
from edges import serving

BRIEF = SimulatorOptions(shortest=8, longest=8)
LIMITED = TierConfig(
    name="free",
    requests_per_minute=10**6,
    tokens_per_day=10**6,
    concurrent=3,
    on_redis_down=OnRedisDown(requests="open", spend="open"),
)
WITHIN_S = 60


@pytest.fixture(params=["cluster", "sentinels"])
def redis(request):
    """Its URL, and who dies."""
    if request.param == "cluster":
        with running_cluster(with_replica=True) as made:
            yield made.url, made.nodes[0]
    else:
        with running_sentinels() as made:
            yield made.url, made.primary


async def test_it_answers_limits_and_goes_on_when_a_primary_dies(redis, migrated_dsn, tmp_path):
    url, primary = redis
    parts = {"dsn": migrated_dsn, "redis_url": url, "data_dir": tmp_path}
    async with serving(**parts, options=(BRIEF,), changes={"tiers": (LIMITED,)}) as served:
        status, answer, headers = await ask(served, served.chat())
        assert (status, headers["x-ratelimit-limit-requests"]) == (200, str(10**6))
        await _until_left(served, 10**6 - answer["usage"]["total_tokens"])
        assert await _at_once(served, 12) == {200, 429}
        assert (await _health(served))["message"] == "Rate limiting service healthy with Redis connected"
        assert (await ask(served, served.chat()))[0] == 200
        await asyncio.to_thread(until, primary.has_replicated)
        await asyncio.to_thread(primary.stop)
        seen = set()
        async with asyncio.timeout(WITHIN_S):
            while not await _counted(served, "redis_changed_total") or DEGRADED in headers:
                status, answer, headers = await ask(served, served.chat())
                seen.add((status, DEGRADED in headers))
                await asyncio.sleep(0.02)
        assert (200, True) in seen
        assert {status for status, _ in seen} == {200}
        assert await _at_once(served, 12) == {200, 429}
        check = (await _health(served))["checks"]["limits"]
        assert check["status"] == "up"
        assert (
            f"may have lost some of the last {await _counted(served, 'redis_lost_at_most_total')} writes"
            in (check["detail"])
        )


async def _at_once(served, number):
    """The statuses of so many requests at once."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(served, served.chat())) for _ in range(number)]
    return {task.result()[0] for task in tasks}


async def _until_left(served, tokens):
    """Return when the quota page says that so many tokens are left today."""
    url = served.url("/v1/users/me/quota", ListenerName.RATE_LIMITING)
    async with asyncio.timeout(WITHIN_S):
        while True:
            async with served.client.get(url, headers=served.as_user()) as answer:
                (one,) = (each for each in (await answer.json())["limits"] if each["name"] == "tokens_per_day")
            if one["remaining"] == tokens:
                return
            await asyncio.sleep(0.02)


async def _health(served):
    async with served.client.get(served.url("/health", ListenerName.RATE_LIMITING)) as answer:
        assert answer.status == 200
        return await answer.json()


async def _counted(served, name):
    async with served.client.get(served.url("/metrics", ListenerName.RATE_LIMITING)) as answer:
        (value,) = re.findall(rf"^citadel_limits_{name} (\S+)$", await answer.text(), re.MULTILINE)
        return int(float(value))
