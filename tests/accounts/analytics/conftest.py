"""A ledger's table, its rollups and questions on a real PostgreSQL, and the same sums made by hand."""

import asyncio
import random
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture

from citadel_edge.accounts.analytics.analytics import Analytics
from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.rollups import Rollups
from citadel_edge.accounts.days import Span, midnight
from citadel_edge.accounts.ledger import table
from citadel_edge.accounts.ledger.codec import encode, encode_fold, unseal
from citadel_edge.accounts.ledger.event import Outcome, UsageEvent, contribution
from citadel_edge.accounts.zones import Zones
from citadel_edge.config.shape import PostgresConfig
from citadel_edge.storage.postgres import PostgresPool
from citadel_edge.telemetry.clock import Clock
from citadel_edge.telemetry.ids import uuid7
from servers import (  # noqa: F401 - fixtures
    migrated_dsn,
    migrated_template,
    own_postgres,
    postgres_server,
    redis_url,
    valkey_server,
)

CLOCK = Clock()
EMPTY = """
DELETE FROM usage_rollups; DELETE FROM usage_histograms; DELETE FROM usage_keys; DELETE FROM usage_events;
DELETE FROM usage_folds; DELETE FROM usage_unrolled; DELETE FROM organisations;
TRUNCATE usage_calendars RESTART IDENTITY;
INSERT INTO usage_calendars (zone, complete, until) VALUES ('UTC', true, NULL), ('weeks of UTC', true, '9999-01-04')
"""
NOTHING = [0, 0, 0, 0, 0, Decimal(0)]
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def make_event(**changes):
    fields = {
        "event_id": uuid7(CLOCK),
        "request_id": "req_1",
        "organisation_id": "org_1",
        "user_id": "usr_1",
        "key_id": "key_1",
        "tier": "free",
        "model": "m1",
        "upstream": "u1",
        "endpoint": "/v1/chat/completions",
        "listener": "routing-api",
        "attempts": 1,
        "tokens_in": 10,
        "tokens_out": 2,
        "cost_usd": Decimal("0.000000000007"),
        "outcome": Outcome.DONE,
        "ttft_ms": 20.0,
        "duration_ms": 200.0,
        "created_at": NOON,
    }
    return UsageEvent(**fields | changes)


class Dice:
    """Rows like those of a small installation, drawn from a seed."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def event(self, since, until):
        rng = self.rng
        user, outcome = rng.randrange(6), rng.choices(list(Outcome), (90, 4, 2, 2, 2))[0]
        denied = outcome is Outcome.DENIED
        return make_event(
            organisation_id=f"org_{user % 2}",
            user_id=f"usr_{user}",
            tier=("free", "pro")[user % 2],
            model=f"m{(user + rng.randrange(2)) % 4}",
            upstream=None if denied else f"u{rng.randrange(3)}",
            endpoint=rng.choice(("/v1/chat/completions", "/v1/embeddings")),
            listener=rng.choice(("routing-api", "streaming-api")),
            tokens_in=0 if denied else rng.randrange(5000),
            tokens_out=0 if denied else rng.randrange(900),
            cost_usd=Decimal(0) if denied else Decimal(rng.randrange(10**9)).scaleb(-12),
            outcome=outcome,
            ttft_ms=rng.choice((None, rng.lognormvariate(4, 1))),
            duration_ms=rng.lognormvariate(6, 1.2),
            count=rng.randrange(1, 40) if denied else 1,
            created_at=since + (until - since) * rng.random(),
        )

    def events(self, count, since, until):
        return [self.event(since, until) for _ in range(count)]


@dataclass
class Books:
    """One database of usage, as one process sees it."""

    postgres: PostgresPool
    rollups: Rollups
    analytics: Analytics
    registry: CollectorRegistry
    logged: list

    async def write(self, *events):
        await table.add(self.postgres, [unseal(encode(event)[:-1]) for event in events])

    async def deny(self, denial, count, *, limit="tokens_per_day"):
        fold = contribution(denial, limit=limit, fold_id=uuid7(CLOCK))
        await table.add(self.postgres, [unseal(encode_fold(fold, count)[:-1])])

    async def roll(self):
        total = 0
        while folded := await self.rollups.fold():
            total += folded
        return total

    async def keep(self, *zones):
        """Have days, months and weeks of these zones kept from the beginning."""
        for zone in zones:
            await self.postgres.execute(
                "INSERT INTO usage_calendars (zone, complete, until) "
                "VALUES ($1, true, NULL), ('weeks of ' || $1, true, '9999-01-04')",
                zone,
            )

    async def by_hand(self, question):
        """The sums of a question by bucket and group, from the ledger's rows, with a calendar of its own."""
        return by_hand(await self.postgres.fetch("SELECT * FROM usage_events"), question)

    async def is_exact(self, question):
        """Whether the answer is what one gets by hand; without any row by hand there are zeros."""
        expected = {"totals": NOTHING, **await self.by_hand(question)}
        return figures(await self.analytics.ask(question), question) == expected


def by_hand(rows, question):
    found = defaultdict(lambda: [0, 0, 0, 0, 0, Decimal(0)])
    span = question.span
    for row in rows:
        outside = not span.since <= row["created_at"] < span.until
        if outside or any((row[name] or "") not in values for name, values in question.conditions):
            continue
        bucket = first_of(row["created_at"], span, question.bucket)
        group = tuple(row[name] or None for name in question.group_by)
        denied, failed = row["outcome"] == "denied", row["outcome"] in ("error", "truncated")
        served = 0 if denied else row["count"]
        added = (
            served,
            row["count"] if failed else 0,
            row["count"] - served,
            row["tokens_in"],
            row["tokens_out"],
            row["cost_usd"],
        )
        for key in ((bucket, group), "totals"):
            found[key] = [one + other for one, other in zip(found[key], added, strict=True)]
    return dict(found)


def first_of(at, span, bucket):
    local = at.astimezone(span.zone)
    day = local.date()
    match bucket:
        case Bucket.HOUR:
            return local.replace(minute=0, second=0, microsecond=0)
        case Bucket.DAY:
            return day
        case Bucket.WEEK:
            return day - timedelta(days=day.weekday())
        case Bucket.MONTH:
            return day.replace(day=1)
    return None


def figures(answer, question):
    """An answer in the form of `by_hand`."""
    found = {"totals": sums(answer.totals)}
    for row in answer.rows:
        bucket = row.bucket
        if bucket is not None and question.bucket is not Bucket.HOUR:
            bucket = bucket.date()
        found[bucket, row.group] = sums(row.figures)
    return found


def sums(each):
    return [each.requests, each.errors, each.denied, each.tokens_in, each.tokens_out, each.cost_usd]


def spanning(first, last, zone=UTC):
    return Span(
        since=midnight(date.fromisoformat(first), zone), until=midnight(date.fromisoformat(last), zone), zone=zone
    )


@pytest.fixture(scope="session")
def open_books():
    """Books on a DSN; several of them stand for several processes."""

    @asynccontextmanager
    async def opened(dsn, *, deadline_s=10.0):
        logged, registry = [], CollectorRegistry()
        capture = LogCapture()
        capture.entries = logged
        log = structlog.wrap_logger(
            structlog.PrintLogger(), processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        async with PostgresPool.open(PostgresConfig(dsn=dsn, deadline_s=deadline_s), clock=CLOCK, log=log) as postgres:
            rollups = Rollups(postgres, zones=Zones(log), clock=CLOCK, log=log, registry=registry)
            yield Books(postgres, rollups, Analytics(postgres), registry, logged)

    return opened


@pytest.fixture(scope="module")
def books_dsn(postgres_server, migrated_template):  # noqa: F811 - fixtures
    """The DSN of the module's books. Their tests empty them: a database of its own for each takes the most time."""
    return postgres_server.new_database(migrated_template)


@pytest.fixture
async def books(open_books, books_dsn):
    asyncio.get_running_loop().set_debug(False)  # many rows
    async with open_books(books_dsn) as opened:
        await opened.postgres.wait_until_up()
        await opened.postgres.execute(EMPTY)
        yield opened


@pytest.fixture(scope="session")
def event():
    return make_event


@pytest.fixture(scope="session")
def dice():
    return Dice


@pytest.fixture(scope="session")
def span():
    return spanning


@pytest.fixture(scope="session")
def shown():
    return figures
