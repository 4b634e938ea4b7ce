"""The questions: how long an answer takes, and whether it is what SQL makes of the rows themselves."""

import statistics
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from benchmarks.analytics.database import BERLIN, Database
from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.columns import HISTOGRAMS
from citadel_edge.accounts.analytics.dimensions import Dimension
from citadel_edge.accounts.analytics.question import Answer, Measure, Question, Top
from citadel_edge.accounts.days import Span, midnight

D: Final = Dimension
_ZONES: Final = {"UTC": UTC, "Berlin": ZoneInfo(BERLIN)}
_SUMS: Final = """
coalesce(sum(count) FILTER (WHERE outcome <> 'denied'), 0)::bigint,
coalesce(sum(count) FILTER (WHERE outcome IN ('error', 'truncated')), 0)::bigint,
coalesce(sum(count) FILTER (WHERE outcome = 'denied'), 0)::bigint,
coalesce(sum(tokens_in), 0)::bigint, coalesce(sum(tokens_out), 0)::bigint, coalesce(sum(cost_usd), 0)
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with a name."""

    name: str
    question: Question


@dataclass(frozen=True, slots=True)
class Measured:
    """How long an answer took at best and in the middle, how long the same took as SQL over the rows, and the rows."""

    best_ms: float
    median_ms: float
    by_hand_ms: float
    rows: int
    equal: bool


def questions(since: datetime, until: datetime) -> list[Asked]:
    """What is asked of so long a time."""
    asked = []
    for name, zone in _ZONES.items():
        span = Span(since=midnight(since.date(), zone), until=midnight(until.date(), zone), zone=zone)
        by_day = Question(span=span, bucket=Bucket.DAY, group_by=(D.MODEL,), durations=())
        by_month = replace(by_day, bucket=Bucket.MONTH, group_by=(D.MODEL, D.TIER))
        by_week = replace(by_day, bucket=Bucket.WEEK)
        top = Top(count=10, by=Measure.COST, others=True)
        user, organisation = f"usr_{'7':0>32}", "org_3"
        asked += [
            Asked(f"day x model, {name}", by_day),
            Asked(f"day x model, durations, {name}", replace(by_day, durations=HISTOGRAMS)),
            Asked(f"month x model x tier, {name}", by_month),
            Asked(f"month x model x tier, durations, {name}", replace(by_month, durations=HISTOGRAMS)),
            Asked(f"day x model of a user, durations, {name}", replace(by_day, user_id=user, durations=HISTOGRAMS)),
            Asked(f"day x model of an organisation, {name}", replace(by_day, organisation_id=organisation)),
            Asked(f"day x upstream, {name}", replace(by_day, group_by=(D.UPSTREAM,))),
            Asked(f"day x outcome, {name}", replace(by_day, group_by=(D.OUTCOME,))),
            Asked(
                f"month x tier x upstream x outcome, {name}",
                replace(by_month, group_by=(D.TIER, D.UPSTREAM, D.OUTCOME)),
            ),
            Asked(f"week x organisation x outcome, {name}", replace(by_week, group_by=(D.ORGANISATION, D.OUTCOME))),
            Asked(f"month x user, top 10 by cost, {name}", replace(by_month, group_by=(D.USER,), top=top)),
            Asked(f"user, {name}", replace(by_month, bucket=Bucket.NONE, group_by=(D.USER,))),
        ]
    return asked


async def ask_all(database: Database, asked: list[Asked], *, repeats: int) -> dict[str, Measured]:
    """Ask each, and print a line of it."""
    print(f"{'':44} {'best ms':>8} {'median':>8} {'SQL over rows':>14} {'rows':>6}  equal")
    found = {}
    for each in asked:
        measured = await _measured(database, each.question, repeats)
        found[each.name] = measured
        times = f"{measured.best_ms:8.1f} {measured.median_ms:8.1f} {measured.by_hand_ms:14.0f}"
        print(f"{each.name:44} {times} {measured.rows:6}  {'yes' if measured.equal else 'NO'}", flush=True)
    return found


async def _measured(database: Database, question: Question, repeats: int) -> Measured:
    times = []
    answer = await database.analytics.ask(question)
    for _ in range(repeats):
        began = time.perf_counter()
        answer = await database.analytics.ask(question)
        times.append(1000 * (time.perf_counter() - began))
    began = time.perf_counter()
    expected = await _by_hand(database, question)
    by_hand_ms = 1000 * (time.perf_counter() - began)
    return Measured(
        best_ms=min(times),
        median_ms=statistics.median(times),
        by_hand_ms=by_hand_ms,
        rows=len(answer.rows),
        equal=_is_equal(answer, expected, question),
    )


async def _by_hand(database: Database, question: Question) -> list[Any]:
    zone = str(question.span.zone)
    bucket = f"date_trunc('{question.bucket}', created_at, '{zone}')"
    heads = ", ".join(["NULL" if question.bucket is Bucket.NONE else bucket, *question.group_by])
    whose = "".join(
        f" AND {name} = '{value}'"
        for name, value in (("user_id", question.user_id), ("organisation_id", question.organisation_id))
        if value is not None
    )
    places = ", ".join(str(place + 1) for place in range(1 + len(question.group_by)))
    return await database.postgres.fetch(
        f"SELECT {heads}, {_SUMS} FROM usage_events "
        f"WHERE created_at >= $1 AND created_at < $2 {whose} GROUP BY {places}",
        question.span.since,
        question.span.until,
        timeout_s=600,
    )


def _is_equal(answer: Answer, expected: list[Any], question: Question) -> bool:
    """Group by group; the top ones and the rest only in their sums."""
    named = 1 + len(question.group_by)
    by_hand = {tuple(row.values())[:named]: tuple(row.values())[named:] for row in expected}
    totals = tuple(map(sum, zip(*by_hand.values(), strict=True))) if by_hand else (0, 0, 0, 0, 0, Decimal(0))
    found = {(row.bucket, *row.group): _sums(row.figures) for row in answer.rows}
    if _sums(answer.totals) != totals:
        return False
    if question.top is None:
        return found == by_hand
    return tuple(map(sum, zip(*found.values(), strict=True))) == totals


def _sums(figures: Any) -> tuple[Any, ...]:
    names = ("requests", "errors", "denied", "tokens_in", "tokens_out", "cost_usd")
    return tuple(getattr(figures, name) for name in names)
