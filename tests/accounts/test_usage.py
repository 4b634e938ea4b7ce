"""What was used, summed: every row once, in the right day, whatever the grouping; page by page or all at once."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from citadel_edge.accounts import turns
from citadel_edge.accounts import usage as module
from citadel_edge.accounts.days import Span, midnight
from citadel_edge.accounts.pages import PageRequest
from citadel_edge.accounts.usage import By, Question, Usage, groups_of, used_since
from citadel_edge.errors import Code, RequestError
from citadel_edge.telemetry.ids import uuid7

BERLIN = ZoneInfo("Europe/Berlin")
FIRST, LAST = date(2026, 10, 24), date(2026, 10, 27)
SPAN = Span(since=midnight(FIRST, BERLIN), until=midnight(LAST, BERLIN), zone=BERLIN)
_INSERT = """
INSERT INTO usage_events (event_id, request_id, organisation_id, user_id, key_id, tier, model, endpoint, listener,
    attempts, tokens_in, tokens_out, cost_usd, outcome, duration_ms, count, created_at)
VALUES ($1, 'req', $2, $3, $4, 'free', $5, $6, 'routing-api', 1, $7, $8, $9, $10, 1.0, $11, $12)"""


async def put(instance, *rows):
    usual = {
        "organisation": "org_1",
        "user": "usr_1",
        "key": "key_1",
        "model": "m",
        "endpoint": "/v1/chat/completions",
        "tokens_in": 10,
        "tokens_out": 1,
        "cost": Decimal("0.1"),
        "outcome": "done",
        "count": 1,
    }
    values = []
    for row in rows:
        each = {**usual, **row}
        names = ("organisation", "user", "key", "model", "endpoint", "tokens_in", "tokens_out", "cost", "outcome")
        at = datetime.fromisoformat(each["at"]).astimezone(UTC)
        values.append((uuid7(instance.clock), *(each[name] for name in names), each["count"], at))
    await instance.postgres.executemany(_INSERT, values)


async def every_row(usage, question, limit=2):
    rows, after = [], None
    while True:
        page = await usage.page(question, PageRequest(limit=limit, after=after))
        rows += page.rows
        if page.next is None:
            return rows, page.totals
        after = page.next


async def test_a_day_is_the_organisation_s_also_when_it_has_25_hours(instance):
    await put(
        instance,
        {"at": "2026-10-23T21:59:59.999Z"},  # before the span
        {"at": "2026-10-23T22:00:00Z", "tokens_in": 1},
        {"at": "2026-10-24T21:59:59Z", "tokens_in": 2},
        {"at": "2026-10-24T22:00:00Z", "tokens_in": 4},
        {"at": "2026-10-25T22:59:59Z", "tokens_in": 8},  # the 25th hour
        {"at": "2026-10-25T23:00:00Z", "tokens_in": 16},
        {"at": "2026-10-26T23:00:00Z", "tokens_in": 32},  # after it
    )
    rows, totals = await every_row(Usage(instance.postgres), Question(span=SPAN, by=(By.DAY,), user_id="usr_1"))
    assert [(row.group, row.sums.tokens_in) for row in rows] == [
        (("2026-10-24",), 3),
        (("2026-10-25",), 12),
        (("2026-10-26",), 16),
    ]
    assert totals.tokens_in == 31


async def test_requests_errors_and_denials_are_told_apart(instance):
    at = "2026-10-25T12:00:00Z"
    outcomes = ("done", "done", "error", "truncated", "cancelled")
    await put(instance, *({"at": at, "outcome": outcome} for outcome in outcomes))
    await put(
        instance, {"at": at, "outcome": "denied", "count": 70, "tokens_in": 0, "tokens_out": 0, "cost": Decimal(0)}
    )
    page = await Usage(instance.postgres).page(Question(span=SPAN, user_id="usr_1"), PageRequest())
    sums = page.totals
    assert (sums.requests, sums.errors, sums.denied) == (5, 2, 70)
    assert (sums.tokens_in, sums.tokens_out, sums.cost_usd) == (50, 5, Decimal("0.5"))
    assert (page.rows, page.next) == ((), None)


async def test_rows_come_once_in_order_by_any_grouping_and_page(instance):
    rows = [
        {
            "at": (SPAN.since + timedelta(hours=7 * n)).isoformat(),
            "model": f"m{n % 3}",
            "key": f"key_{n % 2}",
            "user": f"usr_{n % 5 // 2}",
            "count": n + 1,
        }
        for n in range(10)
    ]
    await put(instance, *rows)
    usage = Usage(instance.postgres)
    of = {
        By.DAY: lambda row: datetime.fromisoformat(row["at"]).astimezone(BERLIN).date().isoformat(),
        By.USER: lambda row: row["user"],
        By.MODEL: lambda row: row["model"],
        By.KEY: lambda row: row["key"],
    }
    for by in ((By.DAY, By.MODEL), (By.MODEL, By.DAY), (By.USER,), (By.KEY, By.USER, By.MODEL, By.DAY), (By.DAY,)):
        expected = Counter()
        for row in rows:
            expected[tuple(of[each](row) for each in by)] += row["count"]
        question = Question(span=SPAN, by=by, organisation_id="org_1")
        for limit in (1, 3, 200):
            found, totals = await every_row(usage, question, limit)
            assert [(row.group, row.sums.requests) for row in found] == sorted(expected.items())
            assert totals.requests == 55
        assert [row async for part in usage.all_rows(question) for row in part] == found


async def test_all_rows_are_read_in_pieces(instance, monkeypatch):
    monkeypatch.setattr(module, "READ_AT_ONCE", 2)
    await put(instance, *({"at": "2026-10-25T12:00:00Z", "model": f"m{n}"} for n in range(5)))
    for by in ((By.MODEL,), (By.DAY, By.MODEL)):
        parts = [part async for part in Usage(instance.postgres).all_rows(Question(span=SPAN, by=by, user_id="usr_1"))]
        assert [row.group[-1] for part in parts for row in part] == ["m0", "m1", "m2", "m3", "m4"]
        assert max(map(len, parts)) == 2
    (whole,) = [part async for part in Usage(instance.postgres).all_rows(Question(span=SPAN, user_id="usr_1"))]
    assert [(row.group, row.sums.requests) for row in whole] == [((), 5)]


async def test_a_day_that_the_zone_left_out_has_no_row(instance):
    apia = ZoneInfo("Pacific/Apia")
    left_out = date(2011, 12, 30)
    await put(instance, {"at": "2011-12-30T09:59:59Z"}, {"at": "2011-12-30T10:00:00Z"})
    for since, days in ((date(2011, 12, 29), ["2011-12-29", "2011-12-31"]), (left_out, ["2011-12-31"])):
        span = Span(since=midnight(since, apia), until=midnight(date(2012, 1, 2), apia), zone=apia)
        question = Question(span=span, by=(By.DAY,), user_id="usr_1")
        rows = [row.group[0] async for part in Usage(instance.postgres).all_rows(question) for row in part]
        page = await Usage(instance.postgres).page(question, PageRequest())
        assert rows == [row.group[0] for row in page.rows] == days


async def test_one_sees_the_own_rows_alone(instance):
    at = "2026-10-25T12:00:00Z"
    await put(instance, {"at": at}, {"at": at, "user": "usr_2"}, {"at": at, "organisation": "org_2", "user": "usr_3"})
    usage = Usage(instance.postgres)
    for question, requests in (
        (Question(span=SPAN, user_id="usr_1"), 1),
        (Question(span=SPAN, organisation_id="org_1"), 2),
        (Question(span=SPAN, organisation_id="org_3"), 0),
    ):
        assert (await usage.page(question, PageRequest())).totals.requests == requests


async def test_odd_names_are_grouped_and_paged_like_others(instance):
    names = ["", "'; DROP TABLE users; --", "=1+1", "é", "x" * 256, "\N{GRINNING FACE}" * 256, "Zebra", "apple"]
    await put(instance, *({"at": "2026-10-25T12:00:00Z", "model": name} for name in names))
    question = Question(span=SPAN, by=(By.MODEL,), user_id="usr_1")
    rows, _ = await every_row(Usage(instance.postgres), question, 1)
    assert sorted(row.group[0] for row in rows) == sorted(names)


async def test_a_cursor_of_another_question_is_refused(instance):
    await put(instance, *({"at": f"2026-10-{day}T12:00:00Z", "model": f"m{day}"} for day in (24, 25, 26)))
    usage = Usage(instance.postgres)
    by_day, by_model = (Question(span=SPAN, by=by, user_id="usr_1") for by in ((By.DAY,), (By.MODEL,)))
    cursor = (await usage.page(by_model, PageRequest(limit=1))).next
    later = Question(
        span=Span(since=midnight(LAST, BERLIN), until=SPAN.until + timedelta(1), zone=BERLIN), by=(By.DAY,)
    )
    day = (await usage.page(by_day, PageRequest(limit=1))).next
    for question, after in ((by_day, cursor), (later, day), (Question(span=SPAN, by=(By.DAY, By.MODEL)), day)):
        with pytest.raises(RequestError) as caught:
            await usage.page(question, PageRequest(after=after))
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, "after")


async def test_too_many_questions_at_once_are_refused_soon(instance, monkeypatch):
    monkeypatch.setattr(turns, "WAIT_S", 0.2)
    usage, question = Usage(instance.postgres), Question(span=SPAN, user_id="usr_1")
    async with usage._turns.turn("one"), usage._turns.turn("two"):
        with pytest.raises(RequestError) as caught:
            await usage.page(question, PageRequest())
    assert caught.value.code is Code.OVERLOADED
    assert (await usage.page(question, PageRequest())).totals.requests == 0


async def test_what_was_used_since_a_time_restores_a_counter(instance):
    await put(
        instance,
        {"at": "2026-10-24T12:00:00Z", "cost": Decimal("0.000000001499")},
        {"at": "2026-10-25T12:00:00Z", "cost": Decimal("0.25"), "model": "big"},
        {"at": "2026-10-25T12:00:00Z", "cost": Decimal("0.25"), "endpoint": "/v1/embeddings", "user": "usr_2"},
        {"at": "2026-10-25T12:00:00Z", "organisation": "org_2"},
    )
    since = midnight(FIRST, BERLIN)
    for facts, tokens, nano_usd in (
        ({"organisation_id": "org_1"}, 33, 500_000_001),
        ({"organisation_id": "org_1", "user_id": "usr_1"}, 22, 250_000_001),
        ({"organisation_id": "org_1", "user_id": "usr_1", "model": "big"}, 11, 250_000_000),
        ({"organisation_id": "org_1", "endpoint": "/v1/embeddings"}, 11, 250_000_000),
        ({"organisation_id": "org_1", "user_id": "usr_3"}, 0, 0),
    ):
        used = await used_since(instance.postgres, since, **facts)
        assert (used.tokens, used.nano_usd) == (tokens, nano_usd)
    later = await used_since(instance.postgres, since + timedelta(days=1), organisation_id="org_1", user_id="usr_1")
    assert later.tokens == 11


def test_groups_are_named_once_each():
    assert groups_of("model,day", (By.DAY, By.MODEL)) == (By.MODEL, By.DAY)
    assert groups_of(None, (By.DAY,)) == groups_of("", (By.DAY,)) == ()
    for text in ("day,day", "user", "day,", "DAY", "day model", "'"):
        with pytest.raises(RequestError) as caught:
            groups_of(text, (By.DAY, By.MODEL))
        assert caught.value.param == "by"
