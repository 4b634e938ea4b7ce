"""Records rows as fast as it can into the spool given, and prints each one's id when `record` has returned.

Run by tests that end it: `writer.py DIRECTORY ROWS [DSN]`. Every seventh row is a denial, printed as `denied`. With a
DSN a whole ledger carries the rows to PostgreSQL meanwhile.
"""

import asyncio
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from citadel_edge.accounts.ledger.codec import encode
from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.accounts.ledger.folds import Folds
from citadel_edge.accounts.ledger.ledger import Ledger
from citadel_edge.accounts.ledger.spool import Spool
from citadel_edge.config.shape import PostgresConfig
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7

CLOCK = Clock()


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def row(outcome):
    return UsageEvent(
        event_id=uuid7(CLOCK),
        request_id="req_writer",
        organisation_id="org_default",
        user_id="usr_writer",
        key_id="key_writer",
        tier="free",
        model="gemma3-270m",
        endpoint="/v1/chat/completions",
        listener="routing-api",
        attempts=1,
        tokens_in=1,
        tokens_out=1,
        cost_usd=Decimal("0.000001"),
        outcome=outcome,
        duration_ms=1.0,
        created_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    )


def write_alone(directory, rows):
    spool = Spool(directory, clock=CLOCK, log=structlog.get_logger(), segment_bytes=64 * 1024)
    spool.open()
    folds = Folds(spool, clock=CLOCK)
    say("ready")
    for number in range(rows):
        if number % 7 == 6:
            folds.add(row(Outcome.DENIED), limit="requests_per_minute")
            say("denied")
        else:
            event = row(Outcome.DONE)
            spool.keep(encode(event))
            say(event.event_id)
    say("held", len(spool.held), "lost", spool.lost)
    sys.stdin.read()


async def write_and_carry(directory, rows, dsn):
    parts = {"clock": CLOCK, "log": structlog.get_logger()}
    async with (
        PostgresPool.open(PostgresConfig(dsn=dsn), **parts) as postgres,
        Ledger.open(
            directory, postgres=postgres, registry=CollectorRegistry(), max_bytes=lambda: 2**30, **parts
        ) as ledger,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(ledger.run())
        say("ready")
        for number in range(rows):
            if number % 7 == 6:
                ledger.record_denial(row(Outcome.DENIED), limit="requests_per_minute")
                say("denied")
            else:
                event = row(Outcome.DONE)
                ledger.record(event)
                say(event.event_id)
            await asyncio.sleep(0.0002)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if len(sys.argv) > 3:
        asyncio.run(write_and_carry(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
    else:
        write_alone(Path(sys.argv[1]), int(sys.argv[2]))
