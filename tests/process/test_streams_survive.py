"""`kill -9` in the middle of answers: after a restart each goes on where it was, no word missing or said twice."""

import asyncio
import random
import signal
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from citadel_edge.simulator.options import SimulatorOptions
from citadel_edge.simulator.server import Simulator, running
from citadel_edge.simulator.timing import Timing
from kept_streams import Heard, service
from processes import EdgeProcess
from servers import Postgres, migrated_dsn, migrated_template, postgres_server, redis_url, valkey_server

__all__ = ["migrated_dsn", "migrated_template", "postgres_server", "redis_url", "valkey_server"]

MODEL = "sim-model"
KILLS, AT_ONCE = 2, 11
SLOW = SimulatorOptions(timing=Timing(first_token_ms=50, decode_ms=35), shortest=60, longest=90, slots=64)


def config(upstreams: list[dict[str, Any]], *, dsn: str, redis: str, **more: Any) -> dict[str, Any]:
    return {
        "environment": "development",
        "redis": {"url": redis, "deadline_ms": 500},
        "postgres": {"dsn": dsn},
        "upstreams": upstreams,
        "models": [{"name": MODEL, "deployments": [{"upstream": one["id"]} for one in upstreams]}],
        "routing": {"probe_interval_s": 0.2},
        "tiers": [{"name": "free", "concurrent": 100, "tokens_per_day": 10**6, "requests_per_minute": 10**4}],
        **more,
    }


async def uninterrupted(client: aiohttp.ClientSession, simulator: Simulator, body: dict[str, Any]) -> str:
    """What the model says to that."""
    async with client.post(f"{simulator.url}/v1/chat/completions", json=body) as answer:
        return str((await answer.json())["choices"][0]["message"]["content"])


async def all_rows(postgres: Postgres, dsn: str, expected: int) -> list[list[str]]:
    """User, outcome and tokens of each request, once so many are there."""
    sql = "SELECT user_id, outcome, tokens_in + tokens_out FROM usage_events"
    database = dsn.partition("?")[0].rpartition("/")[2]
    for _ in range(100):
        lines = (await asyncio.to_thread(postgres.run, sql, database)).splitlines()
        if len(lines) >= expected:
            break
        await asyncio.sleep(0.1)
    return [line.split("|") for line in lines]


def asked(number: int) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": f"Tell me story number {number}."}]}


async def test_killed_in_mid_answer_and_started_again_it_goes_on_with_all_of_them(
    tmp_path: Any, postgres_server: Postgres, migrated_dsn: str, redis_url: str
) -> None:
    rng, edge = random.Random(6), EdgeProcess(tmp_path)
    async with AsyncExitStack() as stack:
        simulators = [await stack.enter_async_context(running(SLOW)) for _ in range(2)]
        upstreams = [{"id": f"sim-{n}", "url": sim.url, "engine": "vllm"} for n, sim in enumerate(simulators)]
        edge.write_config(config(upstreams, dsn=migrated_dsn, redis=redis_url))
        served = await stack.enter_async_context(service(edge))
        places: list[int] = []
        everything: list[Heard] = []
        for kill in range(KILLS):
            streams = []
            async with asyncio.timeout(60), asyncio.TaskGroup() as readers:
                for number in range(AT_ONCE):
                    heard = await served.begin(asked(kill * AT_ONCE + number))
                    streams.append(heard)
                    readers.create_task(served.read_to_the_end(heard))
                    await asyncio.sleep(rng.uniform(0, 0.15))
                await asyncio.sleep(rng.uniform(0, 0.3))
                edge.send(signal.SIGKILL)
                await edge.exited(10)
                places += [len(heard.pieces) for heard in streams if heard.end is None]
                edge.start()
            everything += streams
        rows = await all_rows(postgres_server, migrated_dsn, len(everything))
        taken = await served.taken(rows[0][0])
        whole = await asyncio.gather(*(uninterrupted(served.client, simulators[0], one.body) for one in everything))
        for heard, text in zip(everything, whole, strict=True):
            assert heard.text == text
            assert heard.end is not None
            assert heard.end[0] == "done"
            assert set(heard.recovered) <= {"full"}
        assert len(places) >= 20
        assert {row[1] for row in rows} == {"done"}
        assert len(rows) == len(everything)
        assert taken == sum(int(row[2]) for row in rows)
