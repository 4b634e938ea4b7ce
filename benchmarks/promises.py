"""`python -m benchmarks.promises`: two times that are promised. Start to four healthy listeners, everything embedded;
and from a client's disconnect to the engine seeing it.
"""

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from benchmarks.subjects import edge, process
from citadel_edge.config.shape import ListenerName
from citadel_edge.control.client import request
from citadel_edge.control.protocol import FILE_NAME, Command, NotRunning
from citadel_edge.simulator.options import Engine, SimulatorOptions
from citadel_edge.simulator.server import Simulator, running
from citadel_edge.simulator.timing import Timing

START_S = 120.0
PHASES = {
    "streaming, after the first token": (True, Timing(decode_ms=20.0)),
    "streaming, before the first token": (True, Timing(first_token_ms=5000.0)),
    "not streaming": (False, Timing(decode_ms=20.0)),
}


async def start_s(folder: Path) -> float:
    """Seconds from the command to four healthy listeners; then the edge is stopped in good order."""
    ports = {name.value: {"port": 0} for name in ListenerName}
    (folder / "config.yaml").write_text(json.dumps({"data_dir": "./var", "listeners": ports}))
    began = time.monotonic()
    command = (sys.executable, "-m", "citadel_edge", "serve", "--config", "config.yaml")
    async with process(*command, folder=folder) as child, asyncio.timeout(START_S):
        while not await _all_healthy(folder / "var" / FILE_NAME):  # noqa: ASYNC110 - nothing announces it to us
            await asyncio.sleep(0.01)
        took_s = time.monotonic() - began
        child.send_signal(signal.SIGTERM)
        await child.communicate()
    return took_s


async def _all_healthy(control: Path) -> bool:
    try:
        status = await request(control, Command.STATUS)
    except NotRunning:
        return False
    return all(listener["status"] == "healthy" for listener in status["listeners"])


async def disconnects_ms(folder: Path, *, stream: bool, timing: Timing, times: int) -> list[float]:
    """Milliseconds from closing the client's socket to the engine seeing it, so many times."""
    options = SimulatorOptions(engine=Engine.VLLM, model="paced", timing=timing, shortest=1024, longest=1024)
    async with running(options) as simulator, edge({"paced": simulator.url}, folder) as ours:
        headers = {"Authorization": f"Bearer {ours.key}"}
        async with aiohttp.ClientSession(headers=headers) as client:
            return [await _disconnect_ms(client, ours.urls["paced"], simulator, stream=stream) for _ in range(times)]


async def _disconnect_ms(client: aiohttp.ClientSession, url: str, simulator: Simulator, *, stream: bool) -> float:
    body = {"model": "paced", "stream": stream, "max_tokens": 1000, "messages": [{"role": "user", "content": "Go on."}]}
    seen = simulator.stats.cancelled
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(_ask(client, url, body))
        await simulator.until(lambda stats: len(stats.active) == 1)
        await asyncio.sleep(0.1)
        asked.cancel()
        left = time.monotonic()
    await simulator.until(lambda stats: stats.cancelled > seen)
    return ((simulator.stats.records[-1].disconnected_at or time.monotonic()) - left) * 1000


async def _ask(client: aiohttp.ClientSession, url: str, body: dict[str, object]) -> None:
    async with client.post(f"{url}/v1/chat/completions", json=body) as answer:
        await answer.read()


async def main(times: int) -> None:
    with tempfile.TemporaryDirectory(prefix="citadel-bench-") as name:
        folder = Path(name)
        first_s, *warm_s = [await start_s(folder) for _ in range(4)]
        print(f"start to four healthy listeners: first {first_s:.1f} s, warm {statistics.median(warm_s):.1f} s (of 3)")
        for number, (phase, (stream, timing)) in enumerate(PHASES.items()):
            place = folder / str(number)
            place.mkdir()
            found = sorted(await disconnects_ms(place, stream=stream, timing=timing, times=times))
            p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
            print(f"disconnect seen by the engine, {phase:<34} p50 {p50:5.1f} ms   p99 {p99:5.1f} ms   (of {times})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promises", description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="disconnects a phase (default 100)")
    asyncio.run(main(parser.parse_args().times))
