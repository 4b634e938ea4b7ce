"""`python -m benchmarks.faults`: six replicas under 50 clients, one killed, one frozen, one slow; then all are well.

The edge, the replicas and the clients are processes of their own. The edge runs with everything on: keys, ledger,
metrics, private Redis and PostgreSQL.
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

import aiohttp

from benchmarks.faults.edges import Routing, edges, replicas
from benchmarks.faults.fleet import Replica
from benchmarks.faults.spread import measure
from benchmarks.faults.story import Controls, Figures, tell


def table(found: Figures) -> str:
    """The figures as people read them."""
    lines = [f"{'requests begun':<26}{'number':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}"]
    rows = {
        "healthy": "all well",
        "turmoil": "around the faults",
        "after": "2 s after and later",
        "recovery": "well again",
    }
    for name, words in rows.items():
        row = found[name]
        lines.append(
            f"{words:<26}{row['requests']:>8}{row['p50_ms']:>9.1f}{row['p95_ms']:>9.1f}"
            f"{row['p99_ms']:>9.1f}{row['max_ms']:>9.1f}"
        )
    lines += [
        f"failed: {found['failed']} of {found['requests']}; moved to another replica: {found['moved']}",
        f"p99 2 s after the faults against the healthy fleet's: {found['p99_ratio']:.2f}",
        f"streams broken: {found['streams_failed']} of {found['streams']}; the slowest: {found['slowest_stream_s']} s",
        f"streams began on {found['streams_by_first_replica']}",
        f"used again after (s): {found['recovered_after_s']}; shares in the end (1 is equal): {found['last_shares']}",
        f"most held at once in the first second: {found['most_held_in_first_second']} of {found['slots']} slots",
        *(f"  {failure}" for failure in (*found["failures"], *found["stream_failures"])),
    ]
    return "\n".join(lines)


async def main(options: argparse.Namespace) -> None:
    routing = Routing(strategy=options.strategy, probe_interval_s=options.probe_interval_s)
    with tempfile.TemporaryDirectory(prefix="citadel-faults-") as name:
        folder = Path(name)
        async with replicas(folder) as fleet, aiohttp.ClientSession() as client:
            controls = Controls(fleet, client)
            if options.spread:
                await compare_instances(fleet, controls, folder, routing, options.requests)
                return
            async with edges(fleet, folder, routing) as (door,):
                found = await tell(door, controls, requests=options.requests, recovery_s=options.recovery_s)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


async def compare_instances(
    fleet: list[Replica], controls: Controls, folder: Path, routing: Routing, requests: int
) -> None:
    """The same load through one instance and through two."""
    names = [each.id for each in fleet]
    for count in (1, 2):
        place = folder / str(count)
        place.mkdir()
        async with edges(fleet, place, routing, count=count) as doors:
            print(await measure(doors, controls, names, requests=requests))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="until the faults are over (default 2000)")
    parser.add_argument("--recovery-s", type=float, default=14.0, help="how long to watch what follows (default 14)")
    parser.add_argument("--strategy", default="adaptive", help="how replicas are chosen (default adaptive)")
    parser.add_argument("--probe-interval-s", type=float, default=0.5, help="between two looks at a replica")
    parser.add_argument(
        "--spread", action="store_true", help="no faults: one instance against two that share the fleet"
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed()))
