"""When events are shown, and what becomes of them while Redis is slow, frozen, away, or has lost its memory."""

import asyncio
import time

import pytest
from msgspec.structs import replace

from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.values import Once, Recovered, State
from logs import DONE, FINISH, OWNER, PATIENT_MS, QUICK, STEADY, Told, cursor, event, events, instance, origin, until

pytestmark = pytest.mark.usefixtures("full_speed")
PROMPT = replace(STEADY, late_s=0.05)
MORTAL = replace(QUICK, late_s=0.05)
SLACK_S = 0.5
"""What a busy machine may add."""


async def test_no_event_is_shown_before_the_log_has_it(own_valkey):
    async with instance(own_valkey.url) as one:
        live = await one.start()
        await one.say(live, 1, 2)
        await one.until_stored(live)
        own_valkey.freeze()
        try:
            await one.say(live, 3, 5)
            with one.streams.reader(live) as reader:
                assert (await reader.next()).payloads == events(1, 2)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await reader.next()
                assert live.feed.visible == 2
                own_valkey.thaw()
                batch = await reader.next()
                assert (batch.first, batch.durable, batch.epoch) == (3, True, live.feed.epoch)
        finally:
            own_valkey.thaw()


async def test_a_frozen_log_holds_nobody_up_and_says_so(own_valkey):
    async with instance(own_valkey.url, timing=PROMPT) as one:
        live = await one.start()
        await one.say(live, 1, 2)
        await one.until_stored(live)
        with one.streams.reader(live) as reader:
            shown = (await reader.next()).payloads
            own_valkey.freeze()
            try:
                started = time.monotonic()
                live.append(event(3))
                batch = await reader.next()
                assert 0.045 < time.monotonic() - started < 0.05 + SLACK_S
                assert (batch.payloads, batch.durable, live.durable) == ([event(3)], False, False)
                assert not one.streams.state().durable
                for seq in range(4, 30):
                    started = time.monotonic()
                    live.append(event(seq))
                    batch = await reader.next()
                    assert time.monotonic() - started < SLACK_S / 5
                    assert not batch.durable
                assert (await one.streams.info(live.id)).cursor == batch.cursor
            finally:
                own_valkey.thaw()
            assert shown == events(1, 2)
            await until(lambda: live.durable)
            live.append(event(30))
            batch = await reader.next()
            assert (batch.payloads, batch.durable, batch.epoch) == ([event(30)], True, live.feed.epoch)


async def test_a_cursor_of_an_event_that_was_shown_early_is_good_everywhere_once_the_log_has_it(own_valkey):
    async with instance(own_valkey.url, timing=PROMPT) as one, instance(own_valkey.url, timing=PROMPT) as other:
        live = await one.start()
        await one.say(live, 1, 2)
        await one.until_stored(live)
        own_valkey.freeze()
        try:
            await one.say(live, 3, 4)
            with one.streams.reader(live) as reader:
                batch = await reader.next()
                while batch.last < 4:
                    batch = await reader.next()
        finally:
            own_valkey.thaw()
        early = batch.cursor
        assert early.epoch != live.feed.epoch
        with await one.streams.open(live.id, early) as opened:
            assert opened.recovery.recovered is Recovered.FULL
        live.append(event(5))
        live.end(DONE)
        await until(lambda: not one.held)
        for each in (one, other):
            for seq in range(6):
                assert (await each.read(live.id, cursor(live, seq))).payloads == events(seq + 1, 5)
            told = await each.read(live.id, early)
            assert (told.recovery.recovered, told.payloads) == (Recovered.FULL, [event(5)])


async def test_a_cursor_of_an_event_that_died_with_its_producer_is_refused(own_valkey):
    async with instance(own_valkey.url, timing=MORTAL) as other:
        async with instance(own_valkey.url, worker=False, timing=MORTAL) as one:
            live = await one.start()
            await one.say(live, 1, 2)
            await one.until_stored(live)
            own_valkey.freeze()
            for seq in (3, 4):
                live.append(event(seq))
                await until(lambda seq=seq: live.feed.visible == seq)
            early = (await one.streams.info(live.id)).cursor
            one.streams._commits.drop(live)  # the process dies with what it said
        own_valkey.thaw()
        other.streams.on_orphan = None
        told = await _when_taken(other, live.id)
        assert told.payloads in (events(1, 2), events(1, 3))  # the third was on its way
        assert (told.terminal.outcome, told.epochs) == (State.TRUNCATED, {live.feed.epoch})
        assert (await other.read(live.id, early)).recovery.recovered is Recovered.NONE
        assert (await other.read(live.id, cursor(live, 2))).recovery.recovered is Recovered.FULL


async def _when_taken(other, stream):
    async with asyncio.timeout(20):
        while not (await other.streams.info(stream)).terminal:
            await asyncio.sleep(0.05)
    return await other.read(stream)


async def test_a_log_that_is_killed_while_it_writes_has_what_was_shown(valkey_with_file):
    """It is killed again and again; what was shown as durable is there afterwards, in order and once."""
    server = valkey_with_file
    async with instance(server.url, timing=PROMPT) as one, instance(server.url, timing=PROMPT) as other:
        live = await one.start()
        reading = asyncio.create_task(one.read(live.id))  # noqa: TID251 - awaited below
        said = 0
        for _ in range(3):
            for _ in range(60):
                said += 1
                live.append(event(said))
                await asyncio.sleep(0.001)
            server.stop()
            shown = live.feed.durable
            for _ in range(20):
                said += 1
                live.append(event(said))
                await asyncio.sleep(0.001)
            server.start()
            await one.pool.wait_until_up()
            await other.pool.wait_until_up()
            record = await other.streams._store.look(live.id)
            assert record.last >= shown
        live.end(DONE)
        told = await reading
        assert told.payloads == events(1, said)
        await until(lambda: not one.held)
        again = await other.read(live.id)
        assert (again.payloads, again.epochs, again.terminal) == (events(1, said), {live.feed.epoch}, DONE)


async def test_a_log_that_lost_its_memory_gets_it_back_from_the_producer(own_valkey):
    async with instance(own_valkey.url) as one, instance(own_valkey.url) as other:
        live = await one.start()
        await one.say(live, 1, 20)
        await one.until_stored(live)
        with await other.streams.open(live.id) as opened:
            assert (await opened.reader.next()).payloads == events(1, 20)
            own_valkey.say("FLUSHALL")
            live.append(event(21))
            assert (await opened.reader.next()).payloads == [event(21)]
        await one.until_stored(live)
        told = cursor(live, 3)
        live.end(DONE)
        await until(lambda: not one.held)
        again = await other.read(live.id, told)
        assert (again.payloads, again.recovery.recovered) == (events(4, 21), Recovered.FULL)


async def test_a_silent_stream_s_log_is_healed_too(own_valkey):
    async with instance(own_valkey.url) as one, instance(own_valkey.url) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        own_valkey.say("FLUSHALL")
        async with asyncio.timeout(10):
            while await other.streams._store.look(live.id) is None or not live.durable:
                await asyncio.sleep(0.02)
        with await other.streams.open(live.id) as opened:
            assert (await opened.reader.next()).payloads == events(1, 3)


async def test_what_nobody_has_any_more_changes_the_epoch_and_is_announced(own_valkey):
    big = b"x" * 2000
    async with instance(own_valkey.url) as one, instance(own_valkey.url) as other:
        live = await one.start()
        for _ in range(400):
            live.append(big)
            await live.room()
        await one.until_stored(live)
        before = live.feed.epoch
        assert live.feed.first > 1
        with await other.streams.open(live.id) as opened, one.streams.reader(live) as behind:
            first = await behind.next()
            own_valkey.say("FLUSHALL")
            live.append(event(401))
            await until(lambda: live.feed.epoch != before)
            await one.until_stored(live)
            kept = live.feed.floor
            assert 1 < kept < 401
            for reader, last in ((behind, first.last), (opened.reader, 0)):
                told = await _until_event(401, reader)
                assert told.lost == [(last + 1, kept - 1)]
                assert told.seqs == list(range(kept, 402))
        live.end(DONE)
        await until(lambda: not one.held)
        told = await other.read(live.id, Cursor(before, 10))
        assert (told.recovery.recovered, told.recovery.lost) == (Recovered.NONE, (11, kept - 1))
        assert (told.lost, told.seqs, told.epochs) == ([(11, kept - 1)], list(range(kept, 402)), {live.feed.epoch})


async def _until_event(seq, reader):
    batches = []
    while not batches or batches[-1].last < seq:
        batches.append(await reader.next())
    return Told(None, batches)


async def test_without_redis_streams_are_in_memory_and_it_is_said(tmp_path):
    async with instance(f"unix://{tmp_path}/none.sock", deadline_ms=50, timing=PROMPT, retention_s=0.5) as one:
        live = await one.start()
        await one.say(live, 1, 5)
        await live.stored()
        state = one.streams.state()
        assert (state.durable, state.running) == (False, 1)
        assert "memory" in state.detail
        with one.streams.reader(live) as reader:
            batch = await reader.next()
            assert (batch.payloads, batch.durable) == (events(1, 5), False)
        with await one.streams.open(live.id, batch.cursor) as opened:
            assert opened.recovery.recovered is Recovered.FULL
            assert not opened.info.durable
        live.end(DONE)
        told = await one.read(live.id)
        assert (told.payloads, told.terminal) == (events(1, 5), DONE)
        assert (await one.streams.info(live.id)).terminal == DONE
        await until(lambda: not one.held)


async def test_streams_that_began_without_redis_are_written_when_it_comes(own_valkey):
    own_valkey.stop()
    async with instance(own_valkey.url, deadline_ms=PATIENT_MS, timing=PROMPT) as one:
        running, over = await one.start(), await one.start()
        for live in (running, over):
            await one.say(live, 1, 5)
        over.end(DONE)
        assert (await one.read(over.id)).payloads == events(1, 5)
        own_valkey.start()
        await until(lambda: running.durable and one.held == running.feed.bytes)
        async with instance(own_valkey.url) as other:
            assert (await other.read(over.id)).payloads == events(1, 5)
            assert (await other.streams.info(running.id)).cursor == cursor(running, 5)


async def test_a_start_under_a_key_happens_once_without_redis_too(tmp_path):
    async with instance(f"unix://{tmp_path}/none.sock", deadline_ms=50) as one:
        once = Once(key="k", body_hash=b"h")
        starts = await asyncio.gather(*(one.streams.create(origin(), OWNER, FINISH, once=once) for _ in range(3)))
        assert [start.created for start in starts].count(True) == 1
        assert len({start.id for start in starts}) == 1
