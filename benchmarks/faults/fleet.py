"""Six simulated replicas in one process, each with a control port of its own.

`python -m benchmarks.faults.fleet` prints who they are as JSON and serves until it is told to stop. All speak with one
voice, so that the text of an answer does not tell who gave it, and is known beforehand.
"""

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Final

from citadel_edge.simulator.asks import render
from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.server import running
from citadel_edge.simulator.text import Voice
from citadel_edge.simulator.timing import Timing

ENGINES: Final = (Engine.VLLM, Engine.SGLANG, Engine.VLLM, Engine.SGLANG, Engine.VLLM, Engine.LLAMACPP)
SLOTS: Final = 32
MODEL: Final = "sim-model"
TIMING: Final = Timing(first_token_ms=110.0, decode_ms=8.0, batch_slowdown=0.004)
LONGEST: Final = 360
"""Tokens of an answer without a limit: about three seconds of a stream."""


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One simulator, and where it is told what to be."""

    id: str
    engine: str
    url: str
    control: str


def options(engine: Engine) -> SimulatorOptions:
    return SimulatorOptions(
        engine=engine,
        model=MODEL,
        voice="one",
        slots=SLOTS,
        timing=TIMING,
        shortest=LONGEST,
        longest=LONGEST,
        control_port=0,
        kept_records=100,
    )


def expected(prompt: str, limit: int) -> str:
    """What any of them answers."""
    voice = Voice(seed=0, name="one", shortest=LONGEST, longest=LONGEST)
    return "".join(voice.answer(render([{"role": "user", "content": prompt}]), limit=limit))


async def serve() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        told = []
        for number, engine in enumerate(ENGINES):
            simulator = await stack.enter_async_context(running(options(engine)))
            told.append(
                Replica(id=f"sim-{number}", engine=engine.value, url=simulator.url, control=simulator.control_url)
            )
        print(json.dumps([asdict(each) for each in told]), flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve())
