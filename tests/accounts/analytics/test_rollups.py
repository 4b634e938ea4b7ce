"""How rows get into the sums: once each, whoever folds, whatever dies, however late they come."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from citadel_edge.accounts.analytics.buckets import Bucket
from citadel_edge.accounts.analytics.calendars import MOST_CALENDARS
from citadel_edge.accounts.analytics.dimensions import EVERYTHING, Dimension
from citadel_edge.accounts.analytics.question import Question
from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.errors import RequestError
from citadel_edge.storage.migrate import migrate, packaged

D = Dimension
SINCE, UNTIL = datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 12, 10, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
WAITING = "SELECT coalesce(sum(size), 0)::int FROM usage_unrolled"
SUMMED = "SELECT coalesce(sum(requests + denied), 0)::int FROM usage_rollups WHERE series = $1 AND calendar = $2"
ZONES = "SELECT id, zone FROM usage_calendars ORDER BY id"
HOURS, DAYS, WEEKS = [11, 21, 31, 41], [10 * grain + unit for grain in range(1, 9) for unit in (2, 3)], [54, 64, 74, 84]


@pytest.fixture
def asked(span):
    """A question that the sums of users answer."""
    return Question(span=span("2025-09-01", "2025-12-01"), bucket=Bucket.MONTH, group_by=(D.USER, D.MODEL))


async def counted(books):
    """How many requests each series counts, of each calendar."""
    kept = [(series, 0) for series in HOURS]
    for calendar in await books.postgres.fetch(ZONES):
        kept += [(each, calendar["id"]) for each in (WEEKS if "weeks" in calendar["zone"] else DAYS)]
    return {each: await books.postgres.fetchval(SUMMED, *each) for each in kept}


async def test_each_row_is_in_the_queue_or_in_every_series(books, dice):
    rows = dice(2).events(500, SINCE, UNTIL)
    await books.write(*rows)
    assert await books.postgres.fetchval(WAITING) == 500
    assert set((await counted(books)).values()) == {0}
    assert await books.roll() == 500
    assert await books.postgres.fetchval(WAITING) == 0
    assert set((await counted(books)).values()) == {sum(row.count for row in rows)}
    assert await books.roll() == 0


async def test_a_row_that_is_sent_again_is_counted_once(books, event):
    row = event()
    for _ in range(2):
        await books.write(row)
        await books.roll()
    assert set((await counted(books)).values()) == {1}


async def test_rows_that_come_late_are_counted_where_they_belong(books, dice, asked):
    draw = dice(3)
    for since, until in ((SINCE, UNTIL), (datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 9, 5, tzinfo=UTC))):
        await books.write(*draw.events(200, since, until))
        assert await books.is_exact(asked)
        await books.roll()
        assert await books.is_exact(asked)


async def test_denials_that_grow_are_counted_as_often_as_they_came(books, event, asked):
    denial = event(outcome=Outcome.DENIED, upstream=None, tokens_in=0, tokens_out=0, created_at=SINCE)
    for count in (3, 4, 5):
        await books.deny(denial, count)
        assert (await books.analytics.ask(asked)).totals.denied == await books.postgres.fetchval(
            "SELECT sum(count)::int FROM usage_events"
        )
        if count != 4:
            await books.roll()
    assert set((await counted(books)).values()) == {12}
    assert await books.is_exact(asked)


async def test_a_count_that_grows_before_its_row_was_folded_is_counted_once(books, event, asked):
    denial = event(outcome=Outcome.DENIED, upstream=None, created_at=SINCE)
    await books.deny(denial, 3)
    await books.deny(denial, 4)
    totals = (await books.analytics.ask(asked)).totals
    assert (totals.denied, totals.tokens_in) == (7, denial.tokens_in)
    await books.roll()
    totals = (await books.analytics.ask(asked)).totals
    assert (totals.denied, totals.tokens_in) == (7, denial.tokens_in)


async def test_sums_outlive_the_ledgers_rows(books, dice, asked, shown):
    await books.write(*dice(4).events(300, SINCE, UNTIL))
    await books.roll()
    before = shown(await books.analytics.ask(asked), asked)
    await books.postgres.execute("DELETE FROM usage_events")
    assert shown(await books.analytics.ask(asked), asked) == before


async def test_rows_from_before_the_migration_are_counted(open_books, postgres_server, dice, asked):
    steps = await asyncio.to_thread(packaged)
    async with open_books(postgres_server.new_database()) as books:
        await books.postgres.wait_until_up()
        await migrate(books.postgres, tuple(takewhile(lambda step: step.name != "analytics", steps)))
        await books.postgres.execute("INSERT INTO organisations (id, name, time_zone) VALUES ('o', 'o', 'Asia/Tokyo')")
        await books.write(*dice(5).events(1200, SINCE, UNTIL))
        await migrate(books.postgres, steps)
        assert await books.postgres.fetchval("SELECT array_agg(zone ORDER BY id) FROM usage_calendars") == [
            "UTC",
            "Asia/Tokyo",
        ]
        for _ in range(2):
            assert await books.is_exact(asked)
            await books.roll()
        assert len(set((await counted(books)).values())) == 1


WITHOUT_WEEKS = "DELETE FROM usage_calendars WHERE zone LIKE 'weeks of %'"


async def test_weeks_are_made_of_days_whatever_the_ledger_still_has(books, dice, asked, span):
    draw = dice(12)
    await books.postgres.execute(WITHOUT_WEEKS)
    await books.write(*draw.events(800, SINCE, UNTIL))
    await books.roll()
    await books.postgres.execute("DELETE FROM usage_events WHERE created_at < '2025-10-01'")
    question = replace(asked, span=span("2025-09-03", "2025-12-10"), bucket=Bucket.WEEK)
    before = (await books.analytics.ask(question)).rows
    await books.write(*draw.events(100, SINCE, UNTIL))
    while await books.rollups.build():
        await books.roll()
        await books.write(*draw.events(5, SINCE, UNTIL))
    await books.roll()
    assert len(set((await counted(books)).values())) == 1
    weeks = {(row.bucket, row.group): row.figures.requests for row in (await books.analytics.ask(question)).rows}
    assert sum(weeks.values()) > sum(row.figures.requests for row in before)
    assert all(weeks[row.bucket, row.group] >= row.figures.requests for row in before)
    await books.postgres.execute("DELETE FROM usage_rollups WHERE series % 10 = 4 AND start > '2025-10-01'")
    assert (await books.analytics.ask(question)).totals.requests < sum(weeks.values()), "weeks are what is read"


async def test_a_week_is_kept_when_it_is_over_and_then_takes_what_comes_late(books, dice, asked, span, monkeypatch):
    async def kept():
        return await books.postgres.fetchval("SELECT max(start) FROM usage_rollups WHERE series = 74")

    async def build():
        while await books.rollups.build():
            assert await books.is_exact(question)

    draw = dice(13)
    question = replace(asked, span=span("2025-09-01", "2025-12-10"), bucket=Bucket.WEEK)
    await books.postgres.execute(WITHOUT_WEEKS)
    for today, newest in ((3, "2025-10-27"), (9, "2025-10-27"), (10, "2025-11-03"), (30, "2025-11-17")):
        now = datetime(2025, 11, today, 0, 30, tzinfo=UTC)
        monkeypatch.setattr(books.rollups, "_clock", SimpleNamespace(now=lambda now=now: now))
        await books.write(*draw.events(150, SINCE, now))
        await build()
        await books.write(*draw.events(50, SINCE, now))
        await books.roll()
        assert await books.is_exact(question)
        assert (await kept()).isoformat()[:10] == newest
    await build()
    assert await books.rollups.build() is False


async def test_only_one_folds_at_a_time(books, open_books, books_dsn, dice):
    await books.write(*dice(6).events(400, SINCE, UNTIL))
    async with open_books(books_dsn) as other, books.rollups._locked(10) as held:
        assert held is not None
        assert await other.rollups.fold() is None
        assert await other.rollups.build() is False
    assert await books.rollups.fold() == 400


@pytest.mark.parametrize("after", ["UNKNOWN", "ADD_KEYS", "DAYS", "TAKEN"])
async def test_a_fold_that_dies_at_any_statement_changes_nothing(books, dice, asked, monkeypatch, after):
    """A statement that fails stands for a process that dies there: either way the transaction is rolled back."""
    await books.write(*dice(7).events(300, SINCE, UNTIL))
    folding = "citadel_edge.accounts.analytics.rollups.folding"
    with monkeypatch.context() as broken:
        dies = "SELECT pg_terminate_backend(pg_backend_pid()) WHERE $1::bigint[] IS NOT NULL"
        broken.setattr(f"{folding}.{after}", ((EVERYTHING, dies),) if after == "ADD_KEYS" else dies)
        with pytest.raises(Exception, match=r"away|terminat|shutting|argument|closed"):
            await books.rollups.fold()
    await books.postgres.wait_until_up()
    assert await books.postgres.fetchval(WAITING) == 300
    assert await books.postgres.fetchval("SELECT count(*) FROM usage_rollups") == 0
    assert await books.roll() == 300
    assert await books.is_exact(asked)


async def test_a_new_zone_is_built_from_the_ledger_month_by_month(books, dice, span):
    draw = dice(8)
    denial = draw.event(SINCE, UNTIL)
    await books.write(*draw.events(900, SINCE, UNTIL))
    await books.deny(denial, 5)
    await books.roll()
    await books.deny(denial, 6)
    await books.write(*draw.events(100, SINCE, UNTIL))  # in the queue while the zone is built
    await books.postgres.execute("INSERT INTO organisations (id, name, time_zone) VALUES ('o', 'o', 'Europe/Berlin')")
    question = Question(span=span("2025-11-10", "2025-12-10", BERLIN), bucket=Bucket.WEEK, group_by=(D.USER,))
    whole = replace(question, span=span("2025-09-10", "2025-12-10", BERLIN))
    with pytest.raises(RequestError, match="Days of Europe/Berlin are read from the ledger"):
        await books.analytics.ask(whole)
    steps = 0
    while await books.rollups.build():
        steps += 1
        await books.write(*draw.events(20, SINCE, UNTIL))
        if steps % 2:
            await books.roll()
        assert await books.is_exact(question)
    assert steps == 4 + 1 + 3, "four months; and from this week on their fifteen weeks, five at a time"
    await books.roll()
    found = await counted(books)
    assert len(set(found.values())) == 1
    assert await books.is_exact(whole)
    await books.postgres.execute("DELETE FROM usage_events")
    assert (await books.analytics.ask(whole)).totals.requests > 800, "the zone's days are kept by themselves"


async def test_a_new_zone_without_rows_is_complete_and_so_many_zones_are_kept_at_most(books, event, span):
    zones = ("Europe/Berlin", "Asia/Tokyo", "Asia/Kolkata", "America/New_York", "Nowhere/At_All")
    for number, zone in enumerate(zones):
        await books.postgres.execute(
            "INSERT INTO organisations (id, name, time_zone) VALUES ($1, $1, $2)", f"o{number}", zone
        )
    while await books.rollups.build():
        pass
    kept = await books.postgres.fetch("SELECT zone, complete FROM usage_calendars")
    assert len(kept) == 2 * MOST_CALENDARS, "those of weeks besides"
    assert all(row["complete"] for row in kept)
    assert "Nowhere/At_All" not in {row["zone"] for row in kept}
    await books.write(event(created_at=SINCE))
    await books.roll()
    for zone in zones[:-1]:
        question = Question(span=span("2025-08-31", "2025-09-03", ZoneInfo(zone)), group_by=(D.USER,))
        assert (await books.analytics.ask(question)).totals.requests == 1


async def test_a_machine_that_does_not_know_a_kept_zone_leaves_folding_to_others(books, event):
    await books.keep("Nowhere/At_All")
    await books.write(event())
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(books.rollups.run())
        while not any("not rolled up" in entry["event"] for entry in books.logged):
            await asyncio.sleep(0.05)
        worker.cancel()
    assert await books.postgres.fetchval(WAITING) == 1
    said = next(entry for entry in books.logged if "not rolled up" in entry["event"])
    assert "Nowhere/At_All" in said["reason"]


async def test_rows_of_absurd_times_stop_nobody(books, event):
    await books.write(
        event(created_at=datetime(1, 1, 2, tzinfo=UTC)), event(created_at=datetime(9999, 12, 30, tzinfo=UTC)), event()
    )
    assert await books.roll() == 3
    assert set((await counted(books)).values()) == {1}
    await books.postgres.execute(
        "INSERT INTO organisations (id, name, time_zone) VALUES ('o', 'o', 'America/New_York')"
    )
    while await books.rollups.build():
        pass
    assert set((await counted(books)).values()) == {1}


async def test_the_longest_names_have_keys(books, event, asked):
    wide = "\N{PILE OF POO}" * 256
    names = dict.fromkeys(("organisation_id", "user_id", "tier", "model", "upstream", "endpoint", "listener"), wide)
    await books.write(event(created_at=SINCE, **names))
    assert await books.roll() == 1
    assert [row.group for row in (await books.analytics.ask(asked)).rows] == [(wide, wide)]


async def eventually(ask, *, within_s=20.0):
    async with asyncio.timeout(within_s):
        while not await ask():
            await asyncio.sleep(0.05)


async def test_the_worker_folds_what_waits_for_long_or_is_much_and_says_what_waits(books, dice, monkeypatch):
    rollups = "citadel_edge.accounts.analytics.rollups"
    monkeypatch.setattr(f"{rollups}.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(f"{rollups}.SOON_S", 0.4)
    draw = dice(9)

    async def waiting():
        return await books.postgres.fetchval(WAITING)

    async with asyncio.TaskGroup() as group:
        worker = group.create_task(books.rollups.run())
        began = asyncio.get_running_loop().time()
        await books.write(*draw.events(3, SINCE, UNTIL))
        await eventually(lambda: _is(waiting(), 0))
        assert asyncio.get_running_loop().time() - began >= 0.35, "a few rows wait for others"
        monkeypatch.setattr(f"{rollups}.SOON_S", 3600.0)
        await books.write(*draw.events(999, SINCE, UNTIL))
        await asyncio.sleep(0.3)
        assert await waiting() == 999
        assert books.registry.get_sample_value("citadel_analytics_waiting_rows") == 999
        assert books.registry.get_sample_value("citadel_analytics_waiting_oldest_seconds") > 0
        await books.write(*draw.events(1, SINCE, UNTIL))
        await eventually(lambda: _is(waiting(), 0))
        worker.cancel()
    assert books.registry.get_sample_value("citadel_analytics_rolled_total") == 1003


async def test_the_worker_comes_back_after_postgresql_was_away(open_books, own_postgres, dice, monkeypatch):
    rollups = "citadel_edge.accounts.analytics.rollups"
    monkeypatch.setattr(f"{rollups}.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(f"{rollups}.SOON_S", 0.0)
    async with open_books(own_postgres.dsn()) as books, asyncio.TaskGroup() as group:
        await books.postgres.wait_until_up()
        worker = group.create_task(books.rollups.run())
        await asyncio.sleep(0.2)  # without tables there is nothing to do, and nothing to say
        await migrate(books.postgres)
        await books.write(*dice(10).events(50, SINCE, UNTIL))
        await eventually(lambda: _is(books.postgres.fetchval(WAITING), 0))
        await asyncio.to_thread(own_postgres.stop)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(own_postgres.start)
        await books.postgres.wait_until_up()
        await books.write(*dice(11).events(50, SINCE, UNTIL))
        await eventually(lambda: _is(books.postgres.fetchval(WAITING), 0))
        worker.cancel()
        assert books.registry.get_sample_value("citadel_analytics_failures_total") > 0
        assert sum("not rolled up" in entry["event"] for entry in books.logged) == 1, "an outage is told once"


async def _is(found, expected):
    return await found == expected
