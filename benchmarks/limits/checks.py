"""What a check costs over HTTP: CPU of the edge and of Redis, commands and round trips, checks a second.

The edge has a processor for itself; gateways, Redis and PostgreSQL share the other. Beside checks under four limits
stand those of a user whom nothing limits, which are reserved so that they can be settled, those of a user who is
known to be over a limit, of whom Redis is asked now and then only, and a bare aiohttp server that answers as many
bytes: the measure for all of them, on whatever machine.
"""

import asyncio
import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks import cpu
from benchmarks.limits.checkers import Outcome, Plan
from benchmarks.limits.service import Service, new_user, service
from benchmarks.subjects import process, upstreams
from citadel_edge.config.shape import ListenerName

CONNECTIONS: Final = (1, 16, 64)
USERS: Final = 16
ANSWER_BYTES: Final = 600
"""About what a check under four limits is answered with."""
MUCH: Final = 10**9
WARM_UP: Final = 0.2
PATIENT: Final = {"deadline_ms": 2000}
"""Redis's deadline: what is measured is the price of an answer, and an answer without Redis has another."""
TIERS: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "limited",
        "requests_per_minute": MUCH,
        "tokens_per_minute": MUCH,
        "concurrent": MUCH,
        "tokens_per_day": MUCH,
    },
    {"name": "over", "tokens_per_day": 50},
    {"name": "free_of_limits"},
)
KINDS: Final = {
    "check": "four limits, reserved in Redis",
    "settle": "its settlement",
    "unlimited": "nothing limits it, reserved in Redis",
    "over": "known to be over a limit",
    "bare": "bare aiohttp, as many bytes",
}
COLUMNS: Final = {
    "per_s": "a second",
    "edge_us": "door µs",
    "best_us": "best",
    "redis_us": "Redis µs",
    "scripts": "scripts",
    "trips": "reads",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}
Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used until now: nanoseconds of CPU, scripts that Redis ran, and how often it read from a client."""

    edge_ns: int
    redis_ns: int
    scripts: int
    reads: int


@dataclass(frozen=True, slots=True)
class Door:
    """A process, and where it is asked."""

    pid: int
    url: str


class Bench:
    """Asks and measures."""

    def __init__(self, served: Service, bare: Door, folder: Path, keys: dict[str, list[str]]) -> None:
        self._served = served
        self._edge = Door(served.instances[0].pid, f"{served.instances[0].urls[ListenerName.RATE_LIMITING]}/v1/check")
        self._doors = {
            "settle": Door(self._edge.pid, self._edge.url.replace("check", "settle")),
            "bare": bare,
        }
        self._folder = folder
        self._keys = keys | {"bare": keys["check"]}
        self.settled_of: list[str] = []

    async def measure(self, kind: str, *, requests: int, connections: int) -> Figures:
        """One round of a kind. The settlements are those of the round of checks before."""
        bodies, door = self._bodies(kind, requests), self._doors.get(kind, self._edge)
        before = await self._usage(door)
        outcome, answers = await self._ask(door, bodies, connections)
        after = await self._usage(door)
        if kind == "check":
            self.settled_of = [json.loads(answer)["reservation"] for answer in answers]
        _demand_sense(kind, answers)
        count = outcome.requests
        return {
            "per_s": count / outcome.wall_s,
            "edge_us": (after.edge_ns - before.edge_ns) / count / 1000,
            "redis_us": (after.redis_ns - before.redis_ns) / count / 1000,
            "scripts": (after.scripts - before.scripts) / count,
            "trips": (after.reads - before.reads) / count,
            "p50_ms": outcome.p50_ms,
            "p99_ms": outcome.p99_ms,
        }

    def _bodies(self, kind: str, requests: int) -> Iterator[dict[str, Any]]:
        if kind == "settle":
            return ({"reservation": each, "tokens_in": 12, "tokens_out": 8} for each in self.settled_of)
        return ({"key": key, "tokens": 40} for key in islice(cycle(self._keys[kind]), requests))

    async def _ask(self, door: Door, bodies: Iterator[dict[str, Any]], connections: int) -> tuple[Outcome, list[bytes]]:
        asked, answered = self._folder / "asked", self._folder / "answered"
        await asyncio.to_thread(asked.write_text, "\n".join(json.dumps(body) for body in bodies))
        plan = Plan(
            url=door.url,
            key=self._served.admin_key,
            connections=connections,
            bodies=str(asked),
            answers=str(answered),
        )
        command = (sys.executable, "-m", "benchmarks.limits.checkers", json.dumps(asdict(plan)))
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await child.communicate()
        if child.returncode:
            raise SystemExit(f"{door.url}: an answer was not whole; see above")
        return Outcome(**json.loads(output)), (await asyncio.to_thread(answered.read_bytes)).splitlines()

    async def _usage(self, door: Door) -> Usage:
        valkey = self._served.valkey
        commands, stats = await valkey.info("commandstats"), await valkey.info("stats")
        scripts = dict(pair.split("=") for pair in commands.get("cmdstat_evalsha", "calls=0").split(","))["calls"]
        return Usage(
            edge_ns=cpu.used_ns(door.pid),
            redis_ns=cpu.used_ns(valkey.pid),
            scripts=int(scripts),
            reads=int(stats["total_reads_processed"]),
        )


def _demand_sense(kind: str, answers: Sequence[bytes]) -> None:
    """A figure over other answers than those that were meant is none."""
    if kind in {"settle", "bare"}:
        return
    if any(json.loads(answer)["degraded"] for answer in answers):
        raise SystemExit(f"{kind}: Redis was away")
    refused = sum(not json.loads(answer)["allowed"] for answer in answers)
    if refused != (len(answers) if kind == "over" else 0):
        raise SystemExit(f"{kind}: {refused} of {len(answers)} were refused, as {answers[-1][:300]!r}")


async def measure(folder: Path, *, requests: int, rounds: int) -> dict[str, Figures]:
    """The median of the rounds and the least CPU of one, by kind and connections (`check, 16`)."""
    measured, others = cpu.two_sides()
    os.sched_setaffinity(0, others)
    async with (
        _bare(folder) as bare,
        upstreams(folder) as models,
        service(folder, upstreams=models, tiers=TIERS, count=1, redis=PATIENT) as served,
    ):
        cpu.pin(served.instances[0].pid, measured)
        cpu.pin(bare.pid, measured)
        bench = Bench(served, bare, folder, await _keys(served))
        found: defaultdict[str, list[Figures]] = defaultdict(list)
        for number in range(-1, rounds):
            for connections in CONNECTIONS:
                for kind in KINDS:
                    asked = requests if number >= 0 else max(connections, int(requests * WARM_UP))
                    row = await bench.measure(kind, requests=asked, connections=connections)
                    if number >= 0:
                        found[f"{kind}, {connections}"].append(row)
    return {
        name: {column: statistics.median(row[column] for row in rows) for column in COLUMNS if column != "best_us"}
        | {"best_us": min(row["edge_us"] for row in rows)}
        for name, rows in found.items()
    }


@asynccontextmanager
async def _bare(folder: Path) -> AsyncIterator[Door]:
    command = (sys.executable, "-m", "benchmarks.limits.bare_door", str(ANSWER_BYTES))
    async with process(*command, folder=folder) as child:
        if child.stdout is None:
            raise RuntimeError("started without a pipe")
        port = (await child.stdout.readline()).decode().strip()
        yield Door(child.pid, f"http://127.0.0.1:{port}/v1/check")


async def _keys(served: Service) -> dict[str, list[str]]:
    """Of each kind's users. The one who is over has asked for a day's tokens."""
    async with aiohttp.ClientSession() as client:
        limited = [await new_user(client, served, name=f"limited {n}", tier="limited") for n in range(USERS)]
        over = await new_user(client, served, name="over", tier="over")
        unlimited = await new_user(client, served, name="unlimited", tier="free_of_limits")
        url = f"{served.instances[0].urls[ListenerName.RATE_LIMITING]}/v1/check"
        headers = {"Authorization": f"Bearer {served.admin_key}"}
        for _ in range(2):
            async with client.post(url, json={"key": over["key"], "tokens": 40}, headers=headers) as answer:
                answer.raise_for_status()
    return {"check": [each["key"] for each in limited], "over": [over["key"]], "unlimited": [unlimited["key"]]}


def table(found: dict[str, Figures]) -> str:
    """The figures as people read them; the last column is the CPU against the bare server's."""
    lines = [f"{'over HTTP':<36}{'conn.':>6}" + "".join(f"{words:>10}" for words in COLUMNS.values()) + f"{'ratio':>8}"]
    for name, row in found.items():
        kind, _, connections = name.partition(", ")
        cells = "".join(
            f"{row[column]:10.{1 if column in ('edge_us', 'best_us', 'redis_us', 'per_s') else 2}f}"
            for column in COLUMNS
        )
        ratio = row["edge_us"] / found[f"bare, {connections}"]["edge_us"]
        lines.append(f"{KINDS[kind]:<36}{connections:>6}{cells}{ratio:8.2f}")
    return "\n".join(lines)
