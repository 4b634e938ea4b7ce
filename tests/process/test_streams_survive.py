"""`kill -9` in the middle of answers: after a restart each goes on where it was, no word missing or said twice."""

import asyncio
import random
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from citadel_edge.simulator.server import running
from citadel_edge.simulator.timing import Timing
from kept_streams import SLOW, Heard, account, asked, check_each_is_whole_once, config, started, until
from processes import EdgeProcess
from servers import Postgres

PLACES, AT_ONCE = 20, 24
SLOWER = replace(SLOW, timing=Timing(first_token_ms=50, decode_ms=40))
WITHIN_S = 1.2  # they begin


async def test_killed_in_mid_answer_and_started_again_it_goes_on_with_all_of_them(
    tmp_path: Path, postgres_server: Postgres, migrated_dsn: str, redis_url: str
) -> None:
    rng, edge = random.Random(6), EdgeProcess(tmp_path)
    async with AsyncExitStack() as stack:
        simulators = [await stack.enter_async_context(running(SLOWER)) for _ in range(2)]
        edge.write_config(config(simulators, dsn=migrated_dsn, redis=redis_url))
        client = await stack.enter_async_context(started(edge))
        places: list[int] = []
        everything: list[Heard] = []
        while len(places) < PLACES:
            streams: list[Heard] = []

            async def tell(number: int, after_s: float, streams: list[Heard] = streams) -> None:
                await asyncio.sleep(after_s)
                heard = await client.begin(asked(number))
                streams.append(heard)
                await client.read_to_the_end(heard)

            async with asyncio.timeout(60), asyncio.TaskGroup() as readers:
                for number in range(AT_ONCE):
                    readers.create_task(tell(len(everything) + number, rng.uniform(0, WITHIN_S)))
                await until(lambda streams=streams: len(streams) == AT_ONCE)
                edge.send(signal.SIGKILL)
                await edge.exited(10)
                places += [len(heard.pieces) for heard in streams if heard.end is None]
                edge.start()
            everything += streams
        found = await account(client, postgres_server, migrated_dsn, len(everything))
        await check_each_is_whole_once(everything, found)
        assert all(set(heard.recovered) <= {"full"} for heard in everything)
