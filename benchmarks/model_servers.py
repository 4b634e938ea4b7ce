"""Two simulated model servers in one process: one takes no time, one speaks a token every 20 ms.

`python -m benchmarks.model_servers` prints their addresses as JSON and serves until it is told to stop.
"""

import asyncio
import json
import signal
from contextlib import AsyncExitStack

from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.server import running
from citadel_edge.simulator.timing import Timing

TIMINGS = {"fast": Timing(), "paced": Timing(decode_ms=20.0)}
LONGEST = 1024
"""Longer than anything that is asked for: the length of an answer is the request's `max_tokens`."""


async def serve() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        urls = {}
        for name, timing in TIMINGS.items():
            options = SimulatorOptions(
                engine=Engine.VLLM, model=name, slots=256, timing=timing, shortest=LONGEST, longest=LONGEST
            )
            urls[name] = (await stack.enter_async_context(running(options))).url
        print(json.dumps(urls), flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve())
