"""Two instances on one Redis are one limit: of fifty chats at once, no more are served than the limit and the burst."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from citadel_edge.config.shape import ListenerName, TierConfig
from citadel_edge.simulator.options import SimulatorOptions
from conversations import CHAT
from edges import serving

TIERS = (
    TierConfig(name="fifth", tokens_per_minute=100, burst=0.2),
    TierConfig(name="whole", tokens_per_minute=100, burst=1.0),
    TierConfig(name="free"),
)
PARALLEL = 50
COST = 20
"""Tokens of each chat, prompt and answer; what it reserves too, once the model's prompts are known."""


class Chats:
    """Chats of one size through the instances by turns."""

    def __init__(self, instances):
        self._instances = instances
        self._answer_tokens = 1

    async def learn(self):
        """Choose the answers' length so that a chat takes `COST`; by then the instances know what the prompt takes."""
        for served in self._instances:
            for _ in range(3):
                status, answer = await self.ask(served, served.keys.demo_key)
                assert status == 200, answer
        self._answer_tokens = COST - answer["usage"]["prompt_tokens"]
        assert self._answer_tokens > 0

    async def ask(self, served, key):
        """Status and body."""
        body = served.chat(max_tokens=self._answer_tokens)
        headers = {"Authorization": f"Bearer {key}"}
        async with served.client.post(served.url(CHAT), json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def at_once(self, key):
        """Tokens that were served to this user, of so many chats at once; the others were refused for the rate."""
        turns = [self._instances[n % len(self._instances)] for n in range(PARALLEL)]
        answers = await asyncio.gather(*(self.ask(served, key) for served in turns))
        refused = [body["error"]["code"] for status, body in answers if status != 200]
        assert set(refused) <= {"rate_limit_exceeded"}
        sizes = [body["usage"]["total_tokens"] for status, body in answers if status == 200]
        assert set(sizes) <= {COST}
        return sum(sizes)


async def new_key(served, tier, name):
    """An API key of a new user of the tier."""
    url = served.url("/v1/users", ListenerName.RATE_LIMITING)
    async with served.client.post(url, json={"name": name, "tier": tier}, headers=served.as_admin()) as answer:
        user = await answer.json()
        assert answer.status == 201, user
    async with served.client.post(f"{url}/{user['id']}/keys", json={}, headers=served.as_admin()) as answer:
        return (await answer.json())["key"]


@pytest.fixture
def two_instances(migrated_dsn, redis_url, tmp_path):
    """`async with two_instances() as (one, chats)`."""
    place = {"dsn": migrated_dsn, "redis_url": redis_url, "changes": {"tiers": TIERS}}
    engine = SimulatorOptions(shortest=200, longest=200)

    @asynccontextmanager
    async def opened():
        async with (
            serving(data_dir=tmp_path / "a", options=(engine,), **place) as one,
            serving(data_dir=tmp_path / "b", beside=one, **place) as other,
        ):
            chats = Chats((one, other))
            await chats.learn()
            yield one, chats

    return opened


async def test_chats_at_once_through_both_stay_within_the_limit_and_the_burst(two_instances):
    async with two_instances() as (one, chats):
        for run in range(20):
            assert COST <= await chats.at_once(await new_key(one, "fifth", f"user {run}")) <= 100 + COST, run


async def test_what_the_burst_holds_is_served_to_the_last_token_and_no_more(two_instances):
    async with two_instances() as (one, chats):
        for run in range(3):
            assert await chats.at_once(await new_key(one, "whole", f"user {run}")) == 100
