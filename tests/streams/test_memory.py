"""What streams hold in memory, what the log keeps, and for how long."""

import asyncio
import gc
import weakref

import pytest

from citadel_edge.errors import Code, RequestError
from citadel_edge.streams import shelf
from citadel_edge.streams.feed import OVERHEAD_BYTES, SLACK_BYTES, TAIL_BYTES
from citadel_edge.streams.values import Recovered
from logs import DONE, cursor, events, instance, until

pytestmark = pytest.mark.usefixtures("full_speed")

KB = b"x" * 1024


async def _say_much(live, count, payload=KB):
    for _ in range(count):
        live.append(payload)
        if live.crowded:
            await live.room()
        await asyncio.sleep(0)


async def test_a_reader_that_takes_nothing_costs_nothing_and_misses_nothing(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start()
        live.append(KB)
        await one.until_stored(live)
        with one.streams.reader(live) as slow, await other.streams.open(live.id) as far:
            await _say_much(live, 2000)
            await one.until_stored(live)
            assert one.held <= TAIL_BYTES + SLACK_BYTES + 64 * 2**10
            assert other.held <= TAIL_BYTES + SLACK_BYTES
            live.end(DONE)
            for reader in (slow, far.reader):
                batches = [batch async for batch in reader]
                assert sum(len(batch.payloads) for batch in batches) == 2001
                assert not any(batch.lost for batch in batches)
                assert max(sum(map(len, batch.payloads)) for batch in batches) <= TAIL_BYTES + 64 * 2**10
        await until(lambda: (one.held, other.held) == (0, 0))


async def test_a_producer_waits_while_too_much_is_on_its_way(own_valkey):
    async with instance(own_valkey.url) as one:
        live = await one.start()
        await one.until_stored(live)
        own_valkey.freeze()
        try:
            while not live.crowded:
                live.append(KB)
            waiting = asyncio.create_task(live.room())  # noqa: TID251 - awaited below
            await asyncio.sleep(0.1)
            assert not waiting.done()
        finally:
            own_valkey.thaw()
        await asyncio.wait_for(waiting, 10)
        assert one.held < 3 * 2**20
        live.end(DONE)
        await until(lambda: one.held == 0)


async def test_of_a_stream_that_is_too_large_the_oldest_events_go_first(redis_url):
    async with instance(redis_url, max_bytes=200_000) as one, instance(redis_url) as other:
        live = await one.start()
        await _say_much(live, 600)
        live.end(DONE)
        await until(lambda: one.held == 0)
        told = await other.read(live.id)
        first = told.seqs[0]
        assert 300 < first < 500
        assert (told.lost, told.seqs) == ([(1, first - 1)], list(range(first, 601)))
        assert told.recovery.recovered is Recovered.NONE
        assert (await other.streams.info(live.id)).first == first
        told = await other.read(live.id, cursor(live, 550))
        assert (told.recovery.recovered, told.seqs) == (Recovered.FULL, list(range(551, 601)))


async def test_without_redis_memory_is_bounded_and_what_goes_is_announced(tmp_path):
    async with instance(f"unix://{tmp_path}/none.sock", deadline_ms=50, max_bytes=100_000) as one:
        live = await one.start()
        await live.stored()
        with one.streams.reader(live) as reader:
            live.append(KB)
            assert (await reader.next()).last == 1
            for _ in range(400):
                live.append(KB)
            assert one.held <= 100_000 + SLACK_BYTES + 2048
            live.end(DONE)
            batches = [batch async for batch in reader]
            (lost,) = [batch.lost for batch in batches if batch.lost]
            assert lost == (2, batches[0].first - 1)
            assert batches[-1].last == 401
        told = await one.read(live.id)
        assert told.lost == [(1, lost[1])]


async def test_a_stream_that_is_over_is_kept_for_its_retention(redis_url):
    async with instance(redis_url, retention_s=0.6) as one, instance(redis_url) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        live.end(DONE)
        await until(lambda: one.held == 0)
        assert (await other.read(live.id)).payloads == events(1, 3)
        await asyncio.sleep(0.8)
        for each in (one, other):
            with pytest.raises(RequestError) as raised:
                await each.streams.open(live.id)
            assert raised.value.code is Code.NOT_FOUND


async def test_nothing_stays_in_redis_of_streams_that_are_over(redis_url, valkey_server):
    async with instance(redis_url, retention_s=0.3) as one, instance(redis_url) as other:
        for _ in range(5):
            live = await one.start()
            await one.say(live, 1, 2)
            live.end(DONE)
            await live.stored()
            await other.read(live.id)
        await asyncio.sleep(0.6)
        keys = valkey_server.say("KEYS", "citadel:streams:*")
        assert b":m" not in keys
        assert b":l\r" not in keys
        assert b"leases" not in keys


async def test_without_redis_streams_that_are_over_make_room_the_oldest_first(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "SWEEP_S", 0.02)
    monkeypatch.setattr(shelf, "UNLOGGED_BYTES", 25_000)
    async with instance(f"unix://{tmp_path}/none.sock", deadline_ms=50) as one:
        running, *others = [await one.start() for _ in range(5)]
        await _say_much(running, 20)
        for live in others:
            await _say_much(live, 10)
            live.end(DONE)
            await asyncio.sleep(0.1)
        await until(lambda: one.held < 25_000 + 25_000)
        assert [name for name in [live.id for live in others] if await _kept(one, name)] == [x.id for x in others[2:]]
        with one.streams.reader(running) as reader:
            assert len((await reader.next()).payloads) == 20


async def _kept(one, name):
    try:
        return bool(await one.streams.info(name))
    except RequestError:
        return False


async def test_a_stream_that_is_over_is_freed_without_the_collector(redis_url):
    async with instance(redis_url) as one:
        gc.disable()
        try:
            live = await one.start(body=bytes(10_000))
            trace = weakref.ref(live)
            with one.streams.reader(live) as reader:
                await one.say(live, 1, 3)
                live.end(DONE)
                del live
                assert [batch.last async for batch in reader][-1] == 3
            await until(lambda: trace() is None)
        finally:
            gc.enable()


async def test_a_listener_that_may_hold_no_more_refuses_the_event(redis_url):
    async with instance(redis_url) as one:
        live = await one.start()
        one.most_held = 3 * (len(KB) + OVERHEAD_BYTES)
        for _ in range(3):
            live.append(KB)
        with pytest.raises(RequestError) as raised:
            live.append(KB)
        assert raised.value.code is Code.OVERLOADED
        assert live.cursor.seq == 3
        live.end(DONE)
        assert (await one.read(live.id)).seqs == [1, 2, 3]
        await until(lambda: one.held == 0)


async def test_an_instance_that_may_hold_nothing_still_reads_what_others_produce(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        other.most_held = 0
        live = await one.start()
        await live.stored()
        reading = asyncio.create_task(other.read(live.id))  # noqa: TID251 - awaited below
        await one.say(live, 1, 30, pause_s=0.005)
        live.end(DONE)
        told = await reading
        assert (told.payloads, told.lost) == (events(1, 30), [])


async def test_many_streams_that_are_begun_read_and_left_leave_nothing_behind(redis_url):
    async with instance(redis_url) as one:

        async def live_a_life(number):
            live = await one.start()
            with one.streams.reader(live) as reader:
                await one.say(live, 1, 5)
                await reader.next()
            if number % 3:
                live.end(DONE)
            else:
                live.discard()

        for start in range(0, 300, 50):
            await asyncio.gather(*(live_a_life(number) for number in range(start, start + 50)))
        await until(lambda: one.held == 0)
        state = one.streams.state()
        assert (state.running, state.followed, state.held_bytes) == (0, 0, 0)
        assert not one.streams._commits.pages
        assert state.durable
