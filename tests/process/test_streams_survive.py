"""`kill -9` in the middle of answers: after a restart each goes on where it was, no word missing or said twice."""

import asyncio
import random
import signal
from contextlib import AsyncExitStack
from typing import Any

from citadel_edge.simulator.server import running
from kept_streams import SLOW, Heard, all_rows, asked, config, service, uninterrupted
from processes import EdgeProcess
from servers import Postgres, migrated_dsn, migrated_template, postgres_server, redis_url, valkey_server

__all__ = ["migrated_dsn", "migrated_template", "postgres_server", "redis_url", "valkey_server"]

PLACES, AT_ONCE = 20, 12
LONGEST_START = 50  # pieces that the first one has when no more are begun


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
        while len(places) < PLACES:
            streams: list[Heard] = []
            async with asyncio.timeout(60), asyncio.TaskGroup() as readers:
                while len(streams) < AT_ONCE and not (streams and len(streams[0].pieces) > LONGEST_START):
                    heard = await served.begin(asked(len(everything) + len(streams)))
                    streams.append(heard)
                    readers.create_task(served.read_to_the_end(heard))
                    await asyncio.sleep(rng.uniform(0, 0.1))
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
        assert {row[1] for row in rows} == {"done"}
        assert len(rows) == len(everything)
        assert taken == sum(int(row[2]) for row in rows)
