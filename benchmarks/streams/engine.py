"""The simulated model servers of these benchmarks: every token's text is the moment at which it was said.

`python -m benchmarks.streams.engine [MS]` prints their addresses as JSON and serves until it is told to stop. `paced`
says a token every 20 ms, or every MS; those of `bulky` weigh 4 KiB each.
"""

import asyncio
import json
import signal
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from citadel_edge.simulator.dialects.base import MARK
from citadel_edge.simulator.dialects.vllm import Vllm
from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.server import running
from citadel_edge.simulator.timing import Timing

TOKEN_MS = 20.0
LONGEST = 30_000
"""Longer than anything that is asked for: the length of an answer is the request's `max_tokens`."""
PADDING = {"paced": 0, "bulky": 4096}


class Stamped(Vllm):
    """vLLM, whose model says what time it is, in nanoseconds of the machine's monotonic clock."""

    padding = ""

    def delta(self, field: str, text: str) -> dict[str, Any]:
        return super().delta(field, text if text == MARK else f" {time.monotonic_ns()} {self.padding}")


async def serve(token_ms: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        urls = {}
        for name, padding in PADDING.items():
            options = SimulatorOptions(
                engine=Engine.VLLM,
                model=name,
                slots=512,
                timing=Timing(decode_ms=token_ms),
                shortest=LONGEST,
                longest=LONGEST,
                context_tokens=2 * LONGEST,
            )
            simulator = await stack.enter_async_context(running(options))
            simulator.serving.dialect = dialect = Stamped(options)
            dialect.padding = "x" * padding
            urls[name] = simulator.url
        print(json.dumps(urls), flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]) if len(sys.argv) > 1 else TOKEN_MS))
