"""The commands `outage` and `checks`. Each takes its options and prints its figures."""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.limits import checks, in_process, outage, outage_figures
from benchmarks.limits.outage import Times
from benchmarks.limits.service import Way

KEPT = (Way.KILL, Way.FREEZE)


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Put both among the others; the parsed options carry `run`, a coroutine function of them."""
    told = commands.add_parser("outage", help="Redis goes away under load and comes back", description=outage.__doc__)
    told.add_argument("--outage-s", type=float, default=30.0, help="how long it is away (default 30)")
    told.add_argument("--before-s", type=float, default=30.0, help="how long to measure before (default 30)")
    told.add_argument("--after-s", type=float, default=10.0, help="how long to measure once all is whole (default 10)")
    told.add_argument("--ways", nargs="+", type=Way, default=list(KEPT), choices=list(Way), help="how it goes away")
    told.add_argument("--json", type=Path, help="write the figures there too")
    told.set_defaults(run=run_outage)
    checked = commands.add_parser("checks", help="what a check costs", description=checks.__doc__)
    checked.add_argument("--requests", type=int, default=4000, help="a round, kind and number (default 4000)")
    checked.add_argument("--rounds", type=int, default=3, help="how often each figure is measured (default 3)")
    checked.add_argument("--json", type=Path, help="write the figures there too")
    checked.set_defaults(run=run_checks)


async def run_outage(options: argparse.Namespace) -> None:
    """Each way after the other."""
    times = Times(before_s=options.before_s, outage_s=options.outage_s, after_s=options.after_s)
    with tempfile.TemporaryDirectory(prefix="citadel-limits-") as folder:
        found = await outage.measure(Path(folder), times, options.ways)
    for way, each in found.items():
        print(outage_figures.table(way, each))
    await _write(options.json, found)


async def run_checks(options: argparse.Namespace) -> None:
    """All kinds, over HTTP at all numbers of connections, and without it for as many at once."""
    asked = {"requests": options.requests, "rounds": options.rounds}
    with tempfile.TemporaryDirectory(prefix="citadel-limits-") as folder:
        over_http = await checks.measure(Path(folder), **asked)
    print(checks.table(over_http))
    with tempfile.TemporaryDirectory(prefix="citadel-limits-") as folder:
        without = await in_process.measure(Path(folder), **asked)
    print(in_process.table(without))
    await _write(options.json, {"over_http": over_http, "in_process": without})


async def _write(path: Path | None, found: Any) -> None:
    if path is not None:
        await asyncio.to_thread(path.write_text, json.dumps(found, indent=2) + "\n")
