import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from citadel_edge.accounts.ledger.event import Outcome, denial_id

MINUTE = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def denial(event):
    return lambda **changes: event(
        outcome=Outcome.DENIED, attempts=0, tokens_in=0, tokens_out=0, cost_usd=0, upstream=None, **changes
    )


async def counts(pool):
    rows = await pool.fetch(
        "SELECT user_id, created_at, sum(count)::int AS denials, count(*) FROM usage_events GROUP BY 1, 2"
    )
    return {(row["user_id"], row["created_at"]): (row["denials"], row["count"]) for row in rows}


async def test_denials_are_one_row_a_user_limit_and_minute(postgres, open_ledger, denial):
    async with open_ledger(postgres) as ledger:
        for second in range(90):
            at = MINUTE + timedelta(seconds=second)
            for user in ("usr_a", "usr_b"):
                for limit in ("requests_per_minute", "tokens_per_minute"):
                    ledger.record_denial(denial(user_id=user, created_at=at), limit=limit)
        assert await ledger.flush(10)
    late = MINUTE + timedelta(minutes=1)
    assert await counts(postgres) == {
        (user, at): (2 * n, 2) for user in ("usr_a", "usr_b") for at, n in ((MINUTE, 60), (late, 30))
    }


async def test_the_row_keeps_the_first_denied_request_and_an_id_made_of_its_key(postgres, open_ledger, denial):
    async with open_ledger(postgres) as ledger:
        for number in range(3):
            ledger.record_denial(denial(request_id=f"req_{number}"), limit="concurrent")
        assert await ledger.flush(10)
    row = await postgres.fetchrow("SELECT * FROM usage_events")
    assert (row["request_id"], row["count"], row["created_at"]) == ("req_0", 3, MINUTE)
    assert row["event_id"] == denial_id("usr_demo", "concurrent", int(MINUTE.timestamp() * 1000))
    assert row["event_id"].version == 7


async def test_a_minute_sealed_in_parts_adds_up(postgres, open_ledger, denial):
    async with open_ledger(postgres) as ledger:
        for n in (3, 4, 5):
            for _ in range(n):
                ledger.record_denial(denial(), limit="concurrent")
            ledger._folds.seal()
        assert await ledger.flush(10)
    assert await counts(postgres) == {("usr_demo", MINUTE): (12, 1)}


async def test_replayed_contributions_are_counted_once(postgres, open_ledger, directory, denial):
    for restart in range(3):
        async with open_ledger(postgres) as ledger:
            for _ in range(10):
                ledger.record_denial(denial(), limit="concurrent")
            ledger._folds.seal()
            kept = await asyncio.to_thread(_contents, directory)
            assert await ledger.flush(10)
        await asyncio.to_thread(_restore, directory, kept)
        async with open_ledger(postgres) as again:
            assert await again.flush(10)
        assert await counts(postgres) == {("usr_demo", MINUTE): (10 * (restart + 1), 1)}


async def test_two_instances_make_one_row(postgres, open_ledger, tmp_path, denial):
    async with (
        open_ledger(postgres, directory=tmp_path / "one") as one,
        open_ledger(postgres, directory=tmp_path / "two") as two,
    ):
        for _ in range(20):
            for ledger in (one, two):
                for user in range(30):
                    ledger.record_denial(denial(user_id=f"usr_{user}"), limit="concurrent")
        assert all(await asyncio.gather(one.flush(10), two.flush(10)))
    assert await counts(postgres) == {(f"usr_{user}", MINUTE): (40, 1) for user in range(30)}


async def test_a_flood_of_denials_takes_one_slot(postgres, open_ledger, directory, denial):
    async with open_ledger(postgres) as ledger:
        row = denial()
        for _ in range(5000):
            ledger.record_denial(row, limit="requests_per_minute")
        (path,) = await asyncio.to_thread(lambda: list(directory.glob("*.seg")))
        assert path.stat().st_size <= 1024
        assert await ledger.flush(10)
    assert await counts(postgres) == {("usr_demo", MINUTE): (5000, 1)}


async def test_denials_arrive_when_they_are_five_seconds_old(postgres, carrying_ledger, denial, eventually):
    async with carrying_ledger(postgres) as ledger:
        ledger.record_denial(denial(), limit="concurrent")
        ledger._folds._since_s -= 5
        await eventually(lambda: counts(postgres))


async def test_denials_the_disk_refuses_are_counted_all_the_same(postgres, open_ledger, directory, tmp_path, denial):
    async with open_ledger(postgres) as ledger:
        await asyncio.to_thread(directory.rename, tmp_path / "elsewhere")
        for _ in range(5):
            ledger.record_denial(denial(), limit="concurrent")
        assert ledger.backlog().write_errors == 5
        await asyncio.to_thread((tmp_path / "elsewhere").rename, directory)
        assert await ledger.flush(10)
    assert await counts(postgres) == {("usr_demo", MINUTE): (5, 1)}


async def test_names_of_old_contributions_are_forgotten(postgres, open_ledger, carrying, denial, eventually):
    async with open_ledger(postgres) as ledger:
        ledger.record_denial(denial(), limit="concurrent")
        assert await ledger.flush(10)
        await postgres.execute("UPDATE usage_folds SET carried_at = now() - interval '8 days'")
        ledger.record_denial(denial(user_id="usr_new"), limit="concurrent")
        assert await ledger.flush(10)
        ledger._forgot_at_s -= 3601
        async with carrying(ledger):
            await eventually(lambda: _folds_are(postgres, 1))


async def _folds_are(pool, expected):
    return await pool.fetchval("SELECT count(*) FROM usage_folds") == expected


def _contents(directory):
    return {path.name: path.read_bytes() for path in directory.glob("*.seg")}


def _restore(directory, kept):
    for name, content in kept.items():
        (directory / name).write_bytes(content)
