"""The commands `idle`, `delivery` and `stalled`. Each takes its options and prints its figures."""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.streams import delivery, idle, stalled


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Put all among the others; the parsed options carry `run`, a coroutine function of them."""
    waits = commands.add_parser("idle", help="what readers who wait cost", description=idle.__doc__)
    waits.add_argument("--connections", type=int, default=5000, help="of each kind (default 5000)")
    waits.add_argument("--kinds", nargs="+", default=list(idle.KINDS), choices=idle.KINDS)
    waits.add_argument("--settle-s", type=float, default=3.0, help="before memory is looked at (default 3)")
    waits.add_argument("--idle-s", type=float, default=30.0, help="how long nothing happens (default 30)")
    waits.add_argument("--events", type=int, default=10, help="told to all, one a second (default 10)")
    waits.set_defaults(run=run_idle)
    way = commands.add_parser("delivery", help="what a token's way takes and costs", description=delivery.__doc__)
    way.add_argument("--streams", type=int, default=200, help="at once (default 200)")
    way.add_argument("--seconds", type=float, default=20.0, help="of 50 tokens each (default 20)")
    way.add_argument("--rounds", type=int, default=3, help="how often each way is measured (default 3)")
    way.add_argument("--ways", nargs="+", default=list(delivery.KNOWN), choices=delivery.KNOWN)
    way.set_defaults(run=run_delivery)
    stops = commands.add_parser("stalled", help="a reader stops among others", description=stalled.__doc__)
    stops.add_argument("--streams", type=int, default=200, help="that go on (default 200)")
    stops.add_argument("--token-ms", type=float, default=40.0, help="from token to token of a stream (default 40)")
    stops.add_argument(
        "--ramp-s", type=float, default=30.0, help="until memory's share of each answer is full (default 30)"
    )
    stops.add_argument("--before-s", type=float, default=20.0, help="measured before (default 20)")
    stops.add_argument("--stall-s", type=float, default=60.0, help="how long it stops (default 60)")
    stops.add_argument("--after-s", type=float, default=20.0, help="measured after (default 20)")
    stops.set_defaults(run=run_stalled)
    for each in (waits, way, stops):
        each.add_argument("--json", type=Path, help="write the figures there too")


async def run_idle(options: argparse.Namespace) -> None:
    """Server-Sent Events first, then WebSockets."""
    load = idle.Load(
        kinds=options.kinds,
        connections=options.connections,
        settle_s=options.settle_s,
        idle_s=options.idle_s,
        events=options.events,
    )
    with tempfile.TemporaryDirectory(prefix="citadel-streams-") as folder:
        found = await idle.measure(Path(folder), load)
    print(idle.table(found))
    await _write(options.json, found)


async def run_delivery(options: argparse.Namespace) -> None:
    """All ways, in turns."""
    load = delivery.Load(streams=options.streams, seconds=options.seconds, rounds=options.rounds)
    with tempfile.TemporaryDirectory(prefix="citadel-streams-") as folder:
        found = await delivery.measure(Path(folder), load, options.ways)
    print(delivery.table(found))
    await _write(options.json, found)


async def run_stalled(options: argparse.Namespace) -> None:
    """Once."""
    times = stalled.Times(
        token_ms=options.token_ms,
        begin_s=options.streams / 100,
        ramp_s=options.streams / 50 + options.ramp_s,
        before_s=options.before_s,
        stall_s=options.stall_s,
        after_s=options.after_s,
    )
    with tempfile.TemporaryDirectory(prefix="citadel-streams-") as folder:
        found = await stalled.measure(Path(folder), times, options.streams)
    print(stalled.table(found))
    await _write(options.json, found)


async def _write(path: Path | None, found: Any) -> None:
    if path is not None:
        await asyncio.to_thread(path.write_text, json.dumps(found, indent=2) + "\n")
