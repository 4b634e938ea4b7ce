"""What a relay adds to a token's way, and what it costs: 200 streams of 50 tokens a second each.

Every token says when it was said, so that its arrival tells how long it was under way. Beside ours the same load runs
through a bare aiohttp relay and through nothing at all, in turns, in one run; the median of the rounds counts. What is
measured has a processor for itself; clients, model servers and databases share another.
"""

import asyncio
import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import cpu, subjects
from benchmarks.streams.engine import TOKEN_MS
from benchmarks.streams.readers import Plan
from benchmarks.streams.subject import edge, engines
from citadel_edge.config.shape import ListenerName

MODEL = "paced"
BEGIN_EVERY_S = 0.01
KNOWN = ("direct", "bare", "ours")
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Way:
    """Which way tokens take. `used_s`: seconds of CPU of what is measured, and of its Redis."""

    url: str
    key: str
    used_s: Callable[[], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much, and how often."""

    streams: int
    seconds: float
    rounds: int

    def plan(self, way: Way) -> Plan:
        """Figures are of the time between the last stream's begin and the first one's end."""
        ramp_s = self.streams * BEGIN_EVERY_S
        return Plan(
            url=way.url,
            key=way.key,
            model=MODEL,
            streams=self.streams,
            tokens=int((ramp_s + self.seconds) * 1000 / TOKEN_MS),
            ramp_s=ramp_s,
            phases=[ramp_s + min(1.0, self.seconds / 4), ramp_s + self.seconds],
        )


async def measure(folder: Path, load: Load, names: Sequence[str]) -> Figures:
    """Figures by way."""
    found: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    async with ways(folder, names) as taking_part:
        for number in range(load.rounds):
            for name in names if number % 2 == 0 else reversed(names):
                found[name].append(figures := await one(taking_part[name], load))
                shown = ", ".join(f"{key} {value:.2f}" for key, value in figures.items())
                print(f"  {name:<8} {shown}", file=sys.stderr, flush=True)
    return {name: medians(rows) for name, rows in found.items()}


def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in rows) for key in rows[0]}


async def one(way: Way, load: Load) -> dict[str, float]:
    """One round."""
    plan = load.plan(way)
    before = way.used_s()
    outcome = await readers(plan)
    used = [1000 * (after - earlier) for earlier, after in zip(before, way.used_s(), strict=True)]
    phase, thousands = outcome["phases"][0], plan.streams * plan.tokens / 1000
    return {
        "p50_ms": phase["p50_ms"],
        "p99_ms": phase["p99_ms"],
        "max_ms": phase["max_ms"],
        "tokens_per_s": phase["tokens"] / (plan.phases[1] - plan.phases[0]),
        "cpu_ms_per_1000": used[0] / thousands,
        "redis_ms_per_1000": used[1] / thousands,
    }


async def readers(plan: Plan) -> dict[str, list[dict[str, float]]]:
    """What a process of clients saw."""
    command = (sys.executable, "-m", "benchmarks.streams.readers", json.dumps(asdict(plan)))
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    if child.returncode:
        raise SystemExit("a stream was not whole; see above")
    found: dict[str, list[dict[str, float]]] = json.loads(output)
    return found


@asynccontextmanager
async def ways(folder: Path, names: Sequence[str]) -> AsyncIterator[dict[str, Way]]:
    """Everybody, running."""
    measured, others = cpu.two_sides()
    os.sched_setaffinity(0, others)
    async with AsyncExitStack() as stack:
        upstreams = await stack.enter_async_context(engines(folder))
        found = {"direct": Way(url=upstreams[MODEL], key="none", used_s=lambda: (0.0, 0.0))}
        if "bare" in names:
            bare = await stack.enter_async_context(subjects.bare_relay({MODEL: upstreams[MODEL]}, folder))
            cpu.pin(bare.pids[MODEL], measured)
            found["bare"] = Way(
                url=bare.urls[MODEL], key="none", used_s=lambda: (cpu.used_ns(bare.pids[MODEL]) / 1e9, 0.0)
            )
        if "ours" in names:
            ours = await stack.enter_async_context(edge(upstreams, folder / "edge"))
            cpu.pin(ours.pid, measured)
            found["ours"] = Way(
                url=ours.urls[ListenerName.STREAMING],
                key=ours.key,
                used_s=lambda: (ours.cpu_s(), ours.redis_s()),
            )
        yield found


def table(found: Figures) -> str:
    """As people read them."""
    lines = [f"{'':<8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'tokens/s':>10}{'CPU ms/1000':>13}{'Redis ms/1000':>15}"]
    for name, row in found.items():
        lines.append(
            f"{name:<8}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['max_ms']:>9.1f}{row['tokens_per_s']:>10.0f}"
            f"{row['cpu_ms_per_1000']:>13.1f}{row['redis_ms_per_1000']:>15.1f}"
        )
    if {"bare", "ours"} <= found.keys():
        ours, bare = found["ours"], found["bare"]
        added = {key: ours[key] - bare[key] for key in ("p50_ms", "p99_ms")}
        ratio = ours["cpu_ms_per_1000"] / bare["cpu_ms_per_1000"]
        words = f"p50 {added['p50_ms']:+.2f} ms, p99 {added['p99_ms']:+.2f} ms, {ratio:.2f} times the CPU"
        lines.append(f"ours against the bare relay: {words}")
    return "\n".join(lines)
