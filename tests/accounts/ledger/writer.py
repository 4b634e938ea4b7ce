"""Records rows as fast as it can into the spool given, and prints each one's id when `record` has returned.

Run by tests that end it: `writer.py DIRECTORY ROWS [MAX_HELD]`. Every seventh row is a denial, printed as `denied`.
"""

import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import structlog

from citadel_edge.accounts.ledger.codec import encode
from citadel_edge.accounts.ledger.event import Outcome, UsageEvent
from citadel_edge.accounts.ledger.folds import Folds
from citadel_edge.accounts.ledger.spool import Spool
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


def main(directory, rows, max_held):
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    spool = Spool(directory, clock=CLOCK, log=structlog.get_logger(), segment_bytes=64 * 1024, max_held=max_held)
    spool.open()
    folds = Folds(spool, clock=CLOCK)
    say("ready")
    for number in range(rows):
        if number % 7 == 6:
            folds.add(row(Outcome.DENIED), limit="requests_per_minute")
            word = "denied"
        else:
            event = row(Outcome.DONE)
            spool.keep(encode(event))
            word = str(event.event_id)
        say(word)
    say("held", len(spool.held), "lost", spool.lost)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 10_000)
