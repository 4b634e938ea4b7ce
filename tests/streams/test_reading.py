"""Appending, reading and resuming, in the process that produces and in others."""

import asyncio

import pytest

from citadel_edge.errors import Code, RequestError
from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.values import Begun, Once, Owner, Recovered, State
from logs import DONE, FINISH, OWNER, cursor, event, events, instance, origin, until

pytestmark = pytest.mark.usefixtures("full_speed")


async def test_a_reader_gets_every_event_once_and_the_end(redis_url):
    async with instance(redis_url) as one:
        live = await one.start()
        reading = asyncio.create_task(one.read(live.id))  # noqa: TID251 - awaited below
        await one.say(live, 1, 40, pause_s=0.002)
        live.end(DONE)
        told = await reading
        assert (told.payloads, told.seqs, told.epochs) == (events(1, 40), list(range(1, 41)), {live.feed.epoch})
        assert (told.terminal, told.lost, told.recovery.recovered) == (DONE, [], Recovered.FULL)
        assert all(batch.durable for batch in told.batches)


async def test_reading_goes_on_behind_every_cursor_in_every_process_and_when_it_is_over(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start()
        await one.say(live, 1, 12, pause_s=0.002)
        await one.until_stored(live)
        for seq in range(13):
            for each in (one, other):
                with await each.streams.open(live.id, cursor(live, seq)) as opened:
                    assert opened.recovery.recovered is Recovered.FULL
                    assert opened.info.cursor == cursor(live, 12)
                    got = []
                    while len(got) < 12 - seq:
                        got += (await opened.reader.next()).payloads
                    assert got == events(seq + 1, 12)
        live.end(DONE)
        await until(lambda: one.held == 0)
        for seq in range(13):
            told = await other.read(live.id, cursor(live, seq))
            assert (told.payloads, told.terminal) == (events(seq + 1, 12), DONE)
            assert (await one.read(live.id, cursor(live, seq))).payloads == events(seq + 1, 12)
        assert (await one.read(live.id, cursor(live, 13))).payloads == []


async def test_a_foreign_or_future_cursor_reads_from_the_first_event(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        live.end(DONE)
        await until(lambda: not one.held)
        for after in (Cursor("foreign0", 2), cursor(live, 5)):
            told = await other.read(live.id, after)
            assert (told.recovery.recovered, told.payloads) == (Recovered.NONE, events(1, 3))


async def test_two_hundred_readers_of_one_stream_get_the_same(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other, asyncio.TaskGroup() as group:
        live = await one.start()
        await live.stored()
        here = [group.create_task(one.read(live.id)) for _ in range(100)]
        there = [group.create_task(other.read(live.id)) for _ in range(100)]
        await until(lambda: live.feed.readers == 100)
        await one.say(live, 1, 60, pause_s=0.001)
        live.end(DONE)
        for reading in (*here, *there):
            assert (await reading).payloads == events(1, 60)
    assert (one.held, other.held) == (0, 0)


@pytest.mark.parametrize("here", [True, False])
async def test_what_comes_while_a_reader_waits_is_offered_first_and_read_if_it_is_refused(redis_url, here):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start()
        await live.stored()
        offered, wanted = [], {event(1), event(2), event(4)}

        def take(batch):
            offered.append(batch)
            return wanted.issuperset(batch.payloads)

        with await (one if here else other).streams.open(live.id) as opened:
            reader = opened.reader
            reader.offer_to(take)
            for seq, refused in ((2, 3), (4, 5)):
                reading = asyncio.create_task(reader.next())  # noqa: TID251 - awaited below
                for taken in range(reader.after + 1, seq + 1):
                    await one.say(live, taken, taken)
                    await until(lambda taken=taken: reader.after == taken)
                    assert not reading.done()
                live.append(event(refused))
                batch = await reading
                assert (batch.first, batch.payloads, batch.durable) == (refused, [event(refused)], True)
            reading = asyncio.create_task(reader.next())  # noqa: TID251 - awaited below
            await until(lambda: live.feed.wanted or not here)
            live.end(DONE)
            assert (await reading).terminal == DONE
            assert [seq for batch in offered for seq in range(batch.first, batch.last + 1)] == [1, 2, 3, 4, 5]


async def test_everything_that_may_be_read_is_offered_in_the_same_turn(redis_url):
    """What the log has and what is shown before it has it are two batches."""
    async with instance(redis_url) as one:
        live = await one.start()
        await live.stored()
        offered, feed = [], live.feed
        with await one.streams.open(live.id) as opened:
            opened.reader.offer_to(lambda batch: offered.append((batch.payloads, batch.durable)) is None)
            reading = asyncio.create_task(opened.reader.next())  # noqa: TID251 - awaited below
            await until(lambda: feed.wanted)
            feed.extend([event(1), event(2), event(3)])
            feed.durable = 2
            feed.show_early(None, lambda: "early")
            assert offered == [([event(1), event(2)], True), ([event(3)], False)]
            assert not reading.done()
            live.discard()
            reading.cancel()
            await asyncio.wait({reading})


async def test_a_reader_elsewhere_is_told_at_once_and_counts_for_the_producer(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start()
        changes = []
        live.watch(lambda: changes.append(live.readers))
        live.append(event(1))
        await one.until_stored(live)
        with await other.streams.open(live.id) as opened:
            assert (await opened.reader.next()).payloads == [event(1)]
            await until(lambda: live.readers == 1)
            assert live.forsaken_at is None
            live.append(event(2))
            async with asyncio.timeout(5):
                assert (await opened.reader.next()).payloads == [event(2)]
        await until(lambda: live.readers == 0)
        assert changes[:1] == [1]
        assert changes[-1] == 0


async def test_what_is_known_of_a_stream_is_the_same_everywhere(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start(body=b'\xff{"odd": "bytes"}')
        live.reserved(("res_1",))
        live.begin(Begun(headers={"X-A": "b"}, upstream="gpu-a", model="m"))
        await one.say(live, 1, 2)
        await one.until_stored(live)
        here, there = await one.streams.info(live.id), await other.streams.info(live.id)
        assert (here.here, there.here) == (True, False)
        for info in (here, there):
            assert (info.state, info.first, info.cursor, info.durable) == (State.RUNNING, 1, cursor(live, 2), True)
            assert (info.owner, info.policy, info.origin, info.begun) == (OWNER, live.policy, live.origin, live.begun)
        live.end(DONE)
        await one.until_stored(live)
        assert [
            (info.state, info.terminal) for info in (await one.streams.info(live.id), await other.streams.info(live.id))
        ] == [(State.DONE, DONE)] * 2


async def test_a_stop_reaches_the_producer_wherever_it_is_asked(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        for asked in (one, other):
            live = await one.start()
            live.append(event(1))
            await one.until_stored(live)

            def end(live=live):
                if live.stop.is_set():
                    live.end(DONE)

            live.watch(end)
            async with asyncio.timeout(5):
                info = await asked.streams.stop(live.id, within_s=4)
            assert info.terminal == DONE
            assert (await asked.streams.stop(live.id)).terminal == DONE


async def test_another_s_stream_and_none_are_the_same_404(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start()
        live.append(event(1))
        await one.until_stored(live)

        def may(owner: Owner) -> bool:
            return owner.user_id == "usr_2"

        for each in (one, other):
            for ask in (each.streams.open, each.streams.info, each.streams.stop):
                for stream in (live.id, "str_0" + "0" * 26, "nonsense"):
                    with pytest.raises(RequestError) as raised:
                        await ask(stream, may=may)
                    assert raised.value.code is Code.NOT_FOUND
        assert not live.stop.is_set()


async def test_a_start_under_a_key_happens_once_in_all_processes(redis_url):
    once = Once(key="usr_1:k", body_hash=b"one")
    async with instance(redis_url) as one, instance(redis_url) as other:
        starts = await asyncio.gather(
            *(each.streams.create(origin(), OWNER, FINISH, once=once) for each in (one, other, one, other))
        )
        assert len({start.id for start in starts}) == 1
        assert [start.created for start in starts].count(True) == 1
        assert [start.live is not None for start in starts] == [start.created for start in starts]
        for each in (one, other):
            with pytest.raises(RequestError) as raised:
                await each.streams.create(origin(), OWNER, FINISH, once=Once(key=once.key, body_hash=b"two"))
            assert raised.value.code is Code.IDEMPOTENCY_MISMATCH


async def test_a_start_that_was_discarded_never_was(redis_url):
    once = Once(key="usr_1:k", body_hash=b"one")
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = (await one.streams.create(origin(), OWNER, FINISH, once=once, hold=one.hold)).live
        twin = await other.streams.create(origin(), OWNER, FINISH, once=once)
        assert twin.id == live.id
        with await other.streams.open(twin.id) as opened:
            live.discard()
            async with asyncio.timeout(5):
                assert (await opened.reader.next()).terminal.outcome is State.ERROR
        for each in (one, other):
            await until(lambda: one.held == 0)
            again = await each.streams.create(origin(), OWNER, FINISH, once=once)
            assert again.id != live.id
            if again.live is not None:
                again.live.discard()
                await asyncio.sleep(0.1)


async def test_the_log_hears_of_a_stream_with_its_first_word(redis_url, valkey_server):
    async with instance(redis_url) as one:
        quiet, told = await one.start(), await one.start()
        await told.stored()
        keys = valkey_server.say("KEYS", "citadel:streams:*").decode()
        assert f"{told.id}:m" in keys
        assert quiet.id not in keys
        quiet.discard()
        with pytest.raises(RequestError):
            await one.streams.info(quiet.id)
