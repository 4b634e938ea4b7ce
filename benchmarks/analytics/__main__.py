"""`python -m benchmarks.analytics`: usage of millions of ledger rows, asked of the sums and summed from the rows.

Starts an embedded PostgreSQL, makes the rows, rolls them up, asks each question some times and compares the answer with
SQL over the rows. Fails if any differs.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.analytics.database import Database, running_database, settled
from benchmarks.analytics.ingest import fold_all, ingest
from benchmarks.analytics.questions import Measured, ask_all, questions
from benchmarks.analytics.rows import Amount, insert

UNTIL = datetime(2026, 11, 1, tzinfo=UTC)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analytics", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows over 90 days")
    parser.add_argument("--year-rows", type=int, default=4_000_000, help="rows over a year; 0 leaves the year out")
    parser.add_argument("--ingest-rows", type=int, default=100_000, help="rows written and folded; 0 leaves that out")
    parser.add_argument("--repeats", type=int, default=9, help="how often each question is asked")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


async def story(options: argparse.Namespace) -> tuple[dict[str, object], bool]:
    figures: dict[str, object] = {}
    equal = True
    for name, days, rows in (("90 days", 90, options.rows), ("a year", 365, options.year_rows)):
        if not rows:
            continue
        async with running_database() as database:
            since = UNTIL - timedelta(days=days)
            figures[f"{name}, prepared"] = await prepare(database, Amount(rows=rows, since=since, until=UNTIL), name)
            found = await ask_all(database, questions(since, UNTIL), repeats=options.repeats)
            figures[name] = shown(found)
            equal = equal and all(each.equal for each in found.values())
    if options.ingest_rows:
        async with running_database() as database:
            figures["ingest"] = await ingest(database, rows=options.ingest_rows)
    return figures, equal


async def prepare(database: Database, amount: Amount, name: str) -> Mapping[str, float]:
    began = time.perf_counter()
    await insert(database.postgres, amount)
    inserted = time.perf_counter()
    await fold_all(database)
    folded = time.perf_counter()
    await settled(database)
    sizes = {
        what: await database.postgres.fetchval(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::float8 / 1048576 FROM pg_class "
            "WHERE relkind = 'r' AND relname ~ $1",
            pattern,
        )
        for what, pattern in (
            ("ledger_mib", "^usage_events$"),
            ("sums_mib", "^usage_(rollups|keys)"),
            ("histograms_mib", "^usage_histograms"),
        )
    }
    print(
        f"\n{name}: {amount.rows} rows, {amount.users} users, {amount.models} models, {amount.upstreams} upstreams; "
        f"made in {inserted - began:.0f} s, rolled up in {folded - inserted:.0f} s "
        f"({amount.rows / (folded - inserted):.0f} rows a second); MiB with indexes: ledger {sizes['ledger_mib']:.0f}, "
        f"sums {sizes['sums_mib']:.0f}, histograms {sizes['histograms_mib']:.0f}"
    )
    return {"rows": amount.rows, "rolled_up_s": folded - inserted, **sizes}


def shown(found: Mapping[str, Measured]) -> dict[str, object]:
    return {name: asdict(each) for name, each in found.items()}


def main() -> int:
    options = parsed()
    figures, equal = asyncio.run(story(options))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
