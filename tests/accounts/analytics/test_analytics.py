"""What is answered equals the sums made by hand of every row, whatever is asked, rolled up or not."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from random import Random
from zoneinfo import ZoneInfo

import pytest

from citadel_edge.accounts.analytics.analytics import Analytics
from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.columns import HISTOGRAMS
from citadel_edge.accounts.analytics.dimensions import Dimension, grain_of
from citadel_edge.accounts.analytics.durations import RELATIVE_ERROR
from citadel_edge.accounts.analytics.question import MOST_ROWS, Measure, Order, Question, Top
from citadel_edge.accounts.analytics.reach import LEDGER_DAYS
from citadel_edge.accounts.days import Span
from citadel_edge.errors import Code, PostgresUnavailable, RequestError

D = Dimension
SINCE, UNTIL = datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 12, 10, tzinfo=UTC)
BERLIN, KATHMANDU, LORD_HOWE = map(ZoneInfo, ("Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"))
SPANS = (
    ("2025-09-01", "2025-12-01", UTC),
    ("2025-09-17", "2025-12-03", BERLIN),
    ("2025-10-04", "2025-11-05", KATHMANDU),
    ("2025-10-01", "2025-10-12", LORD_HOWE),
)


@pytest.fixture(scope="module")
def filled_dsn(postgres_server, migrated_template, open_books, dice):
    """Six hundred rows of a hundred days, most rolled up; Berlin and Kathmandu are kept, Lord Howe is not.

    For tests that only read.
    """
    dsn = postgres_server.new_database(migrated_template)

    async def fill():
        async with open_books(dsn) as books:
            await books.postgres.wait_until_up()
            await books.keep("Europe/Berlin", "Asia/Kathmandu")
            rows = dice(1).events(600, SINCE, UNTIL)
            await books.write(*rows[:500])
            await books.roll()
            await books.write(*rows[500:])

    asyncio.run(fill())
    return dsn


@pytest.fixture
async def filled(filled_dsn, open_books):
    async with open_books(filled_dsn) as books:
        await books.postgres.wait_until_up()
        yield books


def reachable(question):
    """Of as many days as it may be asked of."""
    if grain_of(question.dimensions) is not None:
        return question
    asked = question.span
    return replace(question, span=replace(asked, since=max(asked.since, asked.until - timedelta(days=LEDGER_DAYS))))


@pytest.mark.usefixtures("full_speed")
async def test_every_grouping_in_every_zone_and_bucket_is_exact(filled, span):
    rng = Random(7)
    groupings = [group for size in range(4) for group in combinations(Dimension, size)]
    for number, group_by in enumerate(rng.sample(groupings, len(groupings))):
        bucket = list(Bucket)[number % len(Bucket)]
        asked = span(*SPANS[number // len(Bucket) % len(SPANS)])
        if bucket is Bucket.HOUR:
            asked = replace(asked, since=asked.until - timedelta(days=6))
        durations = ((), HISTOGRAMS, ("ttft",))[number % 3]
        question = reachable(Question(span=asked, bucket=bucket, group_by=group_by, durations=durations))
        assert await filled.is_exact(question), question


@pytest.mark.usefixtures("full_speed")
async def test_ends_within_an_hour_are_exact(filled):
    rng = Random(8)
    for number in range(24):
        since = SINCE + timedelta(seconds=rng.randrange(90 * 86400), microseconds=rng.randrange(10**6))
        until = since + timedelta(seconds=rng.choice((1, 1000, 5000, 90_000, 2 * 10**6)))
        zone = (UTC, BERLIN, KATHMANDU, LORD_HOWE)[number % 4]
        group_by = ((), (D.MODEL,), (D.USER, D.MODEL), (D.UPSTREAM,))[number // 4 % 4]
        question = Question(span=Span(since=since, until=until, zone=zone), bucket=Bucket.DAY, group_by=group_by)
        assert await filled.is_exact(question), question


FILTERS = (
    ({D.MODEL: ("m1", "m2")}, {}),
    ({D.MODEL: ("m1",), D.TIER: ("free", "pro")}, {"organisation_id": "org_1"}),
    ({D.UPSTREAM: ("u0", ""), D.OUTCOME: ("denied", "done")}, {}),
    ({D.OUTCOME: ("error", "denied")}, {}),
    ({D.LISTENER: ("streaming-api",), D.ENDPOINT: ("/v1/embeddings",)}, {}),
    ({}, {"user_id": "usr_2", "organisation_id": "org_0"}),
    ({D.USER: ("usr_1", "usr_2")}, {"organisation_id": "org_1"}),
    ({D.ORGANISATION: ("org_0",)}, {"organisation_id": "org_1"}),
    ({D.MODEL: ()}, {}),
    ({D.MODEL: ("'; DROP TABLE usage_events; --", "m\N{SNOWMAN}")}, {}),
)


@pytest.mark.usefixtures("full_speed")
async def test_filters_and_whose_rows_they_are_hold_for_rows_and_totals(filled, span):
    asked = Question(span=span("2025-09-17", "2025-12-03", BERLIN), bucket=Bucket.MONTH)
    for filters, whose in FILTERS:
        for group_by in ((), (D.MODEL,), (D.TIER, D.USER)):
            question = reachable(replace(asked, group_by=group_by, filters=filters, **whose))
            assert await filled.is_exact(question), question


async def test_the_top_groups_are_those_of_the_whole_span_and_the_rest_is_one_more(filled, span, shown):
    question = Question(span=span("2025-09-17", "2025-12-03", BERLIN), bucket=Bucket.WEEK, group_by=(D.USER, D.MODEL))
    every = await filled.by_hand(question)
    costs = {}
    for (_, group), figures in ((key, value) for key, value in every.items() if key != "totals"):
        costs[group] = costs.get(group, 0) + figures[5]
    top = sorted(costs, key=costs.get, reverse=True)[:3]
    expected, rest = {"totals": every.pop("totals")}, (None, None)
    for (bucket, group), figures in every.items():
        key = (bucket, group if group in top else rest)
        expected[key] = [one + other for one, other in zip(expected.get(key, [0] * 6), figures, strict=True)]
    asked = replace(question, top=Top(count=3, by=Measure.COST, others=True))
    answer = await filled.analytics.ask(asked)
    assert shown(answer, asked) == expected
    assert {row.group for row in answer.rows if row.others} == {rest}
    without = await filled.analytics.ask(replace(question, top=Top(count=3, by=Measure.COST)))
    assert {row.group for row in without.rows} == set(top)
    assert without.totals[:6] == answer.totals[:6]


async def test_gaps_are_filled_for_every_group_and_bucket(books, event, span):
    await books.write(
        event(model="m1", created_at=datetime(2026, 3, 2, 9, tzinfo=UTC)),
        event(model="m2", created_at=datetime(2026, 3, 4, 9, tzinfo=UTC)),
    )
    question = Question(span=span("2026-03-01", "2026-03-06"), bucket=Bucket.DAY, group_by=(D.MODEL,), fill=True)
    rows = (await books.analytics.ask(question)).rows
    assert [(row.bucket.day, *row.group, row.figures.requests) for row in rows] == [
        (day, model, int((day, model) in {(2, "m1"), (4, "m2")})) for day in range(1, 6) for model in ("m1", "m2")
    ]
    assert rows[0].figures.latency.percentiles(0.5) == (None,)
    nothing = await books.analytics.ask(replace(question, group_by=(), filters={D.MODEL: ("m3",)}))
    assert [row.figures.requests for row in nothing.rows] == [0] * 5
    assert (await books.analytics.ask(replace(question, filters={D.MODEL: ("m3",)}))).rows == ()


async def test_the_hour_that_comes_twice_is_two_buckets(books, event, span):
    day = span("2025-10-26", "2025-10-27", BERLIN)
    hours = [day.since + timedelta(hours=hour) for hour in range(25)]
    question = Question(span=day, bucket=Bucket.HOUR, fill=True)
    await books.write(
        *(event(created_at=hour + timedelta(minutes=59), tokens_in=n) for n, hour in enumerate(hours[:3]))
    )
    for _ in range(2):
        answer = await books.analytics.ask(question)
        assert [row.bucket.astimezone(UTC) for row in answer.rows] == hours
        assert [bucket.hour for bucket in answer.buckets[:5]] == [0, 1, 2, 2, 3]
        assert [row.figures.tokens_in for row in answer.rows] == [0, 1, 2] + 22 * [0]
        await books.roll()


async def test_rows_come_in_the_order_asked_for(filled, span):
    asked = Question(span=span("2025-09-01", "2025-12-01"), bucket=Bucket.MONTH, group_by=(D.MODEL,))
    in_time = [(row.bucket, row.group) for row in (await filled.analytics.ask(asked)).rows]
    assert in_time == sorted(in_time)
    down = replace(asked, order=Order(descending=True), top=Top(count=2, by=Measure.REQUESTS, others=True))
    found = [(row.bucket, row.others, row.group) for row in (await filled.analytics.ask(down)).rows]
    assert [bucket for bucket, _, _ in found] == sorted((bucket for bucket, _, _ in found), reverse=True)
    assert [others for _, others, _ in found] == [False, False, True] * 3
    by_cost = await filled.analytics.ask(replace(asked, order=Order(by=Measure.COST, descending=True)))
    costs = [row.figures.cost_usd for row in by_cost.rows]
    assert costs == sorted(costs, reverse=True)


async def test_percentiles_of_merged_histograms_are_within_two_percent_of_exact_ones(filled, span):
    question = Question(span=span("2025-09-01", "2025-12-01"), bucket=Bucket.MONTH, group_by=(D.MODEL,))
    answer = await filled.analytics.ask(question)
    shares = (0.01, 0.5, 0.95, 0.99)
    exact = {
        (row["month"], row["model"]): (row["latency"], row["ttft"])
        for row in await filled.postgres.fetch(
            "SELECT date_trunc('month', created_at, 'UTC') AS month, model, "
            "percentile_disc($1::float8[]) WITHIN GROUP (ORDER BY duration_ms) AS latency, "
            "percentile_disc($1::float8[]) WITHIN GROUP (ORDER BY ttft_ms) AS ttft "
            "FROM usage_events WHERE outcome <> 'denied' AND created_at < '2025-12-01T00:00:00Z' GROUP BY 1, 2",
            shares,
        )
    }
    assert len(answer.rows) == len(exact) == 12
    for row in answer.rows:
        for histogram, expected in zip(
            (row.figures.latency, row.figures.ttft), exact[row.bucket, row.group[0]], strict=True
        ):
            for found, precise in zip(histogram.percentiles(*shares), expected, strict=True):
                assert abs(found - precise) <= RELATIVE_ERROR * precise


async def test_a_question_without_durations_has_empty_ones(filled, span):
    answer = await filled.analytics.ask(Question(span=span("2025-09-01", "2025-12-01"), durations=()))
    assert answer.totals.latency.percentiles(0.5, 0.9) == (None, None)
    assert answer.totals.requests > 500


_ABSENT = """
SELECT nullif(upstream, '') AS upstream, count(*) AS requests, sum(tokens_in) AS tokens_in FROM usage_events
WHERE coalesce(upstream, '') = ANY($1::text[]) GROUP BY 1 ORDER BY 1 NULLS FIRST
"""


async def test_an_absent_upstream_and_an_empty_one_are_the_same_wherever_they_are_read(books, event, span):
    """Rows of the ledger, of the queue and of the sums, beside each other in one answer."""
    absent = dict.fromkeys(range(3), (None, "", "u1"))
    march = span("2026-03-01", "2026-04-01")
    for day, upstreams in absent.items():
        await books.write(
            *(
                event(upstream=each, tokens_in=10**day, created_at=march.since + timedelta(days=day, hours=1))
                for each in upstreams
            )
        )
        if day != 1:
            await books.roll()
    cut = replace(march, since=march.since + timedelta(minutes=59), until=march.until - timedelta(minutes=1))
    for values in (("",), ("", "u1"), ("u1",), ("u2",)):
        expected = [tuple(row) for row in await books.postgres.fetch(_ABSENT, values)]
        for asked in (march, cut):
            for extra in ((), (D.USER,)):
                question = Question(span=asked, group_by=(D.UPSTREAM, *extra), filters={D.UPSTREAM: values})
                answer = await books.analytics.ask(question)
                found = [(row.group[0], row.figures.requests, row.figures.tokens_in) for row in answer.rows]
                assert found == expected
                assert answer.totals.requests == sum(row[1] for row in expected)


async def test_a_year_is_answered_where_sums_are_kept_and_a_month_where_the_ledger_is_read(filled, span):
    year = span("2025-01-01", "2026-01-01", BERLIN)
    every = [group for size in range(1, 4) for group in combinations(Dimension, size)]
    kept = [group for group in every if grain_of(group) is not None]
    assert all(
        (D.USER in group and {D.UPSTREAM, D.ENDPOINT, D.LISTENER, D.OUTCOME}.intersection(group))
        or (D.ORGANISATION in group and {D.UPSTREAM, D.LISTENER}.intersection(group))
        for group in every
        if group not in kept
    )
    for group_by in kept:
        assert (await filled.analytics.ask(Question(span=year, group_by=group_by, durations=()))).rows
    own = Question(span=year, group_by=(D.OUTCOME,), user_id="usr_1")
    hours = Question(span=span("2025-10-01", "2025-12-01", BERLIN), bucket=Bucket.HOUR, group_by=(D.USER,))
    strange = Question(span=span("2025-10-01", "2025-12-01", LORD_HOWE), bucket=Bucket.DAY, group_by=(D.USER,))
    for question, param, words in (
        (own, "groupBy", "OUTCOME and USER"),
        (hours, "bucket", "or for days"),
        (strange, "time_zone", "Australia/Lord_Howe"),
    ):
        with pytest.raises(RequestError, match=words) as caught:
            await filled.analytics.ask(question)
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, param)
        shorter = replace(question, span=replace(question.span, since=question.span.until - timedelta(days=31)))
        assert await filled.is_exact(shorter)


async def test_tokens_beyond_all_numbers_of_64_bits_are_summed(books, event, span):
    huge = 2**62
    await books.write(*(event(tokens_in=huge, tokens_out=huge) for _ in range(5)))
    for _ in range(2):
        totals = (await books.analytics.ask(Question(span=span("2026-03-01", "2026-04-01")))).totals
        assert (totals.tokens_in, totals.tokens_out) == (5 * huge, 5 * huge)
        await books.roll()


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"group_by": (D.MODEL, D.TIER, D.USER, D.UPSTREAM)}, "groupBy"),
        ({"group_by": (D.MODEL, D.MODEL)}, "groupBy"),
        ({"filters": {D.MODEL: ("m",) * 201}}, "filter"),
        ({"filters": {D.MODEL: ("a\0b",)}}, "filter"),
        ({"top": Top(count=3, by=Measure.COST)}, "top"),
        ({"group_by": (D.MODEL,), "top": Top(count=101, by=Measure.COST)}, "top"),
    ],
)
def test_what_cannot_be_answered_is_refused_at_once(span, changes, param):
    with pytest.raises(RequestError) as caught:
        Question(span=span("2026-03-01", "2026-04-01"), **changes)
    assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, param)


@pytest.mark.usefixtures("full_speed")
async def test_more_rows_than_an_answer_holds_are_refused(books, event, span):
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    await books.write(*(event(user_id=f"usr_{number}", created_at=at) for number in range(400)))
    asked = Question(span=span("2026-03-01", "2026-04-01"), bucket=Bucket.DAY, group_by=(D.USER,))
    assert len((await books.analytics.ask(asked)).rows) == 400
    with pytest.raises(RequestError) as caught:
        await books.analytics.ask(replace(asked, fill=True))
    assert str(MOST_ROWS) in caught.value.message


async def test_few_ask_at_the_same_time_and_none_waits_for_ever(filled, span, monkeypatch):
    question = Question(span=span("2025-09-01", "2025-12-01"))
    with monkeypatch.context() as hasty:
        hasty.setattr("citadel_edge.accounts.turns.WAIT_S", 0.1)
        async with filled.analytics._turns.turn("one"), filled.analytics._turns.turn("two"):
            with pytest.raises(RequestError) as caught:
                await filled.analytics.ask(question)
    assert caught.value.code is Code.OVERLOADED
    askers = ("one", "one", "two", "three")
    answers = await asyncio.gather(*(filled.analytics.ask(replace(question, asker=asker)) for asker in askers))
    assert len({answer.totals.requests for answer in answers}) == 1


async def test_before_the_migrations_there_is_no_answer(open_books, postgres_server, span):
    async with open_books(postgres_server.new_database()) as empty:
        await empty.postgres.wait_until_up()
        with pytest.raises(PostgresUnavailable, match="migrations"):
            await Analytics(empty.postgres).ask(Question(span=span("2026-03-01", "2026-04-01")))
