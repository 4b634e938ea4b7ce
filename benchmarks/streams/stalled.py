"""One reader stops for a minute among 200: what the others notice, and what it costs in memory.

Its tokens weigh 4 KiB each and its own buffer is small, so that what it does not take has to be held somewhere, or the
reader let go.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cpu
from benchmarks.streams.delivery import readers
from benchmarks.streams.readers import Plan
from benchmarks.streams.subject import edge, engines
from citadel_edge.config.shape import ListenerName

MB = 2**20


@dataclass(frozen=True, kw_only=True)
class Times:
    """Of a run, in seconds; `token_ms`, from one token of a stream to the next, in milliseconds.

    `begin_s`: in which the streams begin. `ramp_s`: until what memory keeps of each is full.
    """

    token_ms: float
    begin_s: float
    ramp_s: float
    before_s: float
    stall_s: float
    after_s: float

    @property
    def bounds(self) -> list[float]:
        """Of the phases before, while and after the reader stops, from the start."""
        stalls = self.ramp_s + self.before_s
        return [self.ramp_s, stalls, stalls + self.stall_s, self.end]

    @property
    def end(self) -> float:
        return self.ramp_s + self.before_s + self.stall_s + self.after_s


async def measure(folder: Path, times: Times, streams: int) -> dict[str, Any]:
    """Latencies of the others by phase, the edge's memory at the phases' bounds, and what became of the reader."""
    measured, others = cpu.two_sides()
    os.sched_setaffinity(0, others)
    async with AsyncExitStack() as stack:
        upstreams = await stack.enter_async_context(engines(folder, times.token_ms))
        ours = await stack.enter_async_context(edge(upstreams, folder / "edge"))
        cpu.pin(ours.pid, measured)
        bounds = times.bounds
        plan = Plan(
            url=ours.urls[ListenerName.STREAMING],
            key=ours.key,
            model="paced",
            streams=streams,
            tokens=int(times.end * 1000 / times.token_ms),
            ramp_s=times.begin_s,
            phases=bounds,
            stalled="bulky",
            stall_at_s=bounds[1],
            wake_at_s=bounds[2],
        )
        async with asyncio.TaskGroup() as group:
            memory = group.create_task(watch(ours.resident_bytes, bounds))
            outcome = await readers(plan)
            held = await memory
    names = ("before", "stalled", "after")
    return {
        "phases": dict(zip(names, outcome["phases"], strict=True)),
        "resident_mb": dict(zip(("start", "stall_begins", "stall_ends", "end"), held["at"], strict=True)),
        "largest_mb": held["largest"],
        "stalled": outcome["stalled"],
    }


async def watch(resident: Callable[[], int], bounds: list[float]) -> dict[str, Any]:
    """Its memory in MB at the bounds, and the most of it between the second and the third."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    at: list[float] = []
    largest = 0.0
    while len(at) < len(bounds):
        await asyncio.sleep(0.25)
        now, held = loop.time() - began, resident() / MB
        if now >= bounds[len(at)]:
            at.append(held)
        if bounds[1] <= now <= bounds[2]:
            largest = max(largest, held)
    return {"at": at, "largest": largest}


def table(found: dict[str, Any]) -> str:
    """As people read them."""
    lines = [f"{'the others':<12}{'tokens':>9}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}"]
    for name, row in found["phases"].items():
        lines.append(f"{name:<12}{row['tokens']:>9}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['max_ms']:>9.1f}")
    held = ", ".join(f"{name.replace('_', ' ')} {value:.1f}" for name, value in found["resident_mb"].items())
    reader = found["stalled"]
    got = "the whole answer" if reader["whole"] else f"{reader['tokens']} of {reader['asked']} tokens, then the end"
    lines += [f"the edge holds (MB): {held}; most while it stalled {found['largest_mb']:.1f}", f"the reader got {got}"]
    return "\n".join(lines)
