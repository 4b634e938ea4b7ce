import asyncio
import json
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from citadel_edge.accounts.ledger.codec import encode, seal
from citadel_edge.accounts.ledger.event import Outcome
from citadel_edge.errors import Code, RequestError
from citadel_edge.storage.migrate import migrate
from citadel_edge.telemetry.hub import Hub, Topic

ALL = "SELECT * FROM usage_events ORDER BY event_id"


def spooled(directory):
    return sorted(directory.glob("*.seg"))


def write_segment(directory, *lines, number=1):
    directory.mkdir(exist_ok=True)
    path = directory / f"{number:012d}-1760000000000.seg"
    path.write_bytes(b"".join(lines))
    return path


async def test_every_column_arrives_as_it_was_recorded(postgres, open_ledger, event):
    rows = [
        event(outcome=outcome, upstream=upstream, ttft_ms=ttft, decision_id=decision)
        for outcome in Outcome
        for upstream, ttft, decision in (("gpu-a", 12.5, "dec_1"), (None, None, None))
    ]
    async with open_ledger(postgres) as ledger:
        for row in rows:
            ledger.record(row)
        assert await ledger.flush(10)
    found = await postgres.fetch(ALL)
    assert len(found) == len(rows)
    for row, record in zip(rows, found, strict=True):
        assert dict(record) == {name: getattr(row, name) for name in row.__struct_fields__}


async def test_rows_are_carried_by_themselves(postgres, carrying_ledger, event, eventually):
    async with carrying_ledger(postgres) as ledger:
        for number in range(3):
            ledger.record(event())
            await eventually(lambda n=number: _count_is(postgres, n + 1))
        assert ledger.backlog().rows == 0
        assert ledger.backlog().oldest_s == 0


async def test_many_rows_are_exact_to_the_last_decimal(postgres, carrying_ledger, event, eventually):
    async with carrying_ledger(postgres) as ledger:
        for _ in range(30):
            for _ in range(100):
                ledger.record(event(cost_usd=Decimal("0.000000000001"), tokens_in=3))
            await asyncio.sleep(0)
        await eventually(lambda: _count_is(postgres, 3000))
    assert await postgres.fetchval("SELECT sum(cost_usd) FROM usage_events") == Decimal("0.000000003")
    assert await postgres.fetchval("SELECT sum(tokens_in) FROM usage_events") == 9000


async def test_a_carried_spool_is_empty_after_a_clean_end(postgres, open_ledger, directory, event):
    async with open_ledger(postgres) as ledger:
        ledger.record(event())
        await ledger.flush(10)
    assert spooled(directory) == []


async def test_replaying_twice_changes_nothing(postgres, open_ledger, directory, event):
    lines = [encode(event()) for _ in range(50)]
    for _ in range(3):
        write_segment(directory, *lines, *lines[:10])
        async with open_ledger(postgres) as ledger:
            assert ledger.backlog().rows == 60
            assert await ledger.flush(10)
            assert ledger.backlog().rows == 0
    assert await _count_is(postgres, 50)


async def test_corrupt_lines_are_set_aside_and_the_rest_arrives(postgres, open_ledger, directory, event, logged):
    lines = [encode(event()) for _ in range(9)]
    lines[4] = lines[4].replace(b"chat", b"chaT", 1)
    write_segment(directory, *lines, b"deadbeef {torn")
    registry = CollectorRegistry()
    async with open_ledger(postgres, registry=registry) as ledger:
        assert await ledger.flush(10)
        assert ledger.backlog().quarantined == 1
    assert await _count_is(postgres, 8)
    kept = json.loads((directory / "quarantine.jsonl").read_text())
    assert kept["line"].encode() + b"\n" == lines[4]
    assert kept["reason"] == "corrupt"
    assert [entry["event"] for entry in logged if entry["log_level"] == "warning"] == ["skipped an unfinished line"]
    assert registry.get_sample_value("citadel_ledger_torn_total") == 1
    assert registry.get_sample_value("citadel_ledger_quarantined_total", {"reason": "corrupt"}) == 1
    assert registry.get_sample_value("citadel_ledger_carried_total") == 8


async def test_rows_that_postgresql_refuses_do_not_hold_up_the_others(postgres, open_ledger, directory, event, logged):
    poison = [
        event(tokens_in=-1),
        event(tokens_out=2**70),
        event(cost_usd=Decimal("NaN")),
        event(cost_usd=Decimal("1e9")),
        event(duration_ms=float("nan")),
        event(count=0),
    ]
    good = [event() for _ in range(700)]
    async with open_ledger(postgres) as ledger:
        for row in [*good[:300], *poison[:3], *good[300:], *poison[3:]]:
            ledger.record(row)
        assert await ledger.flush(10)
        assert ledger.backlog().rows == 0
        assert ledger.backlog().quarantined == len(poison)
    assert await _count_is(postgres, len(good))
    kept = [json.loads(line) for line in (directory / "quarantine.jsonl").read_text().splitlines()]
    assert {json.loads(row["line"])["event_id"] for row in kept} == {str(row.event_id) for row in poison}
    assert not any("req_" in str(entry) for entry in logged)
    async with open_ledger(postgres) as again:
        assert again.backlog().quarantined == len(poison)


async def test_what_clients_write_into_names_arrives_mended(postgres, open_ledger, event):
    async with open_ledger(postgres) as ledger:
        ledger.record(event(request_id="a\0b\ud800c", model="x" * 10_000, upstream="'; DROP TABLE usage_events --"))
        assert await ledger.flush(10)
    row = await postgres.fetchrow("SELECT * FROM usage_events")
    assert (row["request_id"], row["model"]) == ("a\N{REPLACEMENT CHARACTER}b?c", "x" * 256)


async def test_a_row_that_cannot_be_written_down_is_counted_not_raised(postgres, open_ledger, event, logged):
    async with open_ledger(postgres) as ledger:
        ledger.record(event(model=object()))
        ledger.record_denial(event(model=object()), limit="concurrent")
        ledger.record_denial(event(user_id=object()), limit="concurrent")
        assert ledger.backlog().lost == 3
    assert [entry["log_level"] for entry in logged if "lost" in entry["event"]] == ["error"] * 3


async def test_a_missing_table_keeps_the_rows_until_it_is_there(
    empty_database, carrying_ledger, event, logged, eventually
):
    async with carrying_ledger(empty_database) as ledger:
        ledger.record(event())
        await eventually(lambda: _truth(any("wait in the spool" in entry["event"] for entry in logged)))
        assert ledger.backlog().rows == 1
        await migrate(empty_database)
        await eventually(lambda: _count_is(empty_database, 1))
        assert ledger.backlog().quarantined == 0


async def test_a_disk_that_refuses_is_no_loss_while_postgresql_is_there(
    postgres, carrying_ledger, event, directory, eventually
):
    async with carrying_ledger(postgres) as ledger:
        elsewhere = directory.with_name("elsewhere")
        await asyncio.to_thread(directory.rename, elsewhere)
        for _ in range(40):
            ledger.record(event())
        assert ledger.backlog().held == 40
        assert ledger.backlog().write_errors > 0
        await eventually(lambda: _count_is(postgres, 40))
        assert ledger.backlog().held == 0
        await asyncio.to_thread(elsewhere.rename, directory)


async def test_a_segment_deleted_by_hand_does_not_stop_the_others(postgres, open_ledger, directory, event, logged):
    gone = write_segment(directory, encode(event()))
    write_segment(directory, encode(event()), number=2)
    async with open_ledger(postgres) as ledger:
        await asyncio.to_thread(gone.unlink)
        assert await ledger.flush(10)
        assert ledger.backlog().rows == 0
    assert await _count_is(postgres, 1)
    assert ["deleted" in entry["event"] for entry in logged if entry["log_level"] == "error"] == [True]


async def test_a_segment_that_cannot_be_read_is_tried_again_after_the_others(postgres, open_ledger, directory, event):
    bad = write_segment(directory, encode(event()))
    write_segment(directory, encode(event()), number=2)
    async with open_ledger(postgres) as ledger:
        await asyncio.to_thread(_make_directory_of, bad)
        assert not await ledger.flush(10)
        assert not await ledger.flush(10)
        assert await _count_is(postgres, 1)
        assert ledger.backlog().rows == 1
        await asyncio.to_thread(_make_file_of, bad, encode(event()))
        assert await ledger.flush(10)
    assert await _count_is(postgres, 2)


async def test_a_full_spool_sheds_new_work_with_a_clear_answer(postgres, open_ledger, event):
    async with open_ledger(postgres, max_bytes=2000) as ledger:
        ledger.check_room()
        for _ in range(5):
            ledger.record(event())
        with pytest.raises(RequestError) as refusal:
            ledger.check_room()
        assert refusal.value.code is Code.OVERLOADED
        assert refusal.value.retry_after_s
        assert await ledger.flush(10)
        ledger._spool.seal()
        assert not await ledger._carrier.carry_one()
        ledger.check_room()


async def test_the_hub_hears_each_row_and_metrics_count_it(postgres, open_ledger, clock, event):
    hub, registry = Hub(clock), CollectorRegistry()
    async with open_ledger(postgres, hub=hub, registry=registry) as ledger:
        rows = [event(), event(outcome=Outcome.CANCELLED)]
        for row in rows:
            ledger.record(row)
        ledger.record_denial(event(outcome=Outcome.DENIED), limit="concurrent")
        text = generate_latest(registry).decode()
    published = [message.payload for message in hub.last(Topic.USAGE, 10)]
    assert [payload["outcome"] for payload in published] == ["done", "cancelled", "denied"]
    assert published[0]["event_id"] == str(rows[0].event_id)
    json.dumps(published)
    assert 'citadel_ledger_rows_total{listener="routing-api",outcome="cancelled"} 1.0' in text
    assert "citadel_ledger_spool_rows 2.0" in text


async def test_a_line_of_a_later_version_is_read_as_far_as_it_is_known(postgres, open_ledger, directory, event):
    payload = encode(event())[9:-1]
    write_segment(directory, seal(payload[:-1] + b',"hedged":true}'))
    async with open_ledger(postgres) as ledger:
        assert await ledger.flush(10)
    assert await _count_is(postgres, 1)


async def _count_is(pool, expected):
    return await pool.fetchval("SELECT count(*) FROM usage_events") == expected


async def _truth(value):
    return value


def _make_directory_of(path):
    path.unlink()
    path.mkdir()


def _make_file_of(path, content):
    path.rmdir()
    path.write_bytes(content)


async def test_the_bound_of_the_spool_may_change(postgres, open_ledger, event):
    bounds = [2**30]
    async with open_ledger(postgres, max_bytes=lambda: bounds[-1]) as ledger:
        ledger.record(event())
        ledger.check_room()
        bounds.append(1)
        with pytest.raises(RequestError):
            ledger.check_room()
        bounds.append(2**30)
        ledger.check_room()
