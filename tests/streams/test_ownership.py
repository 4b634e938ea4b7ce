"""Who produces a stream: leases, fences, and what becomes of streams whose producer died."""

import asyncio
from functools import partial

import pytest
from msgspec.structs import replace

from citadel_edge.streams.cursor import Cursor
from citadel_edge.streams.values import Begun, Recovered, State, Terminal
from logs import DONE, QUICK, STEADY, cursor, event, events, line_to, until
from logs import instance as any_instance

pytestmark = pytest.mark.usefixtures("full_speed")
instance = partial(any_instance, timing=QUICK)
FROZEN = replace(QUICK, tend_s=3600.0)
"""Of a process that does not renew: to all others it is dead."""


class Heir:
    """Goes on with orphans as a generation would: so many events by `by`, then the end."""

    def __init__(self, upto=0, by="b", *, takes=True):
        self.upto = upto
        self.by = by
        self.takes = takes
        self.orphans = []

    async def __call__(self, orphan):
        self.orphans.append(orphan)
        if not self.takes:
            return False
        for seq in range(orphan.live.feed.last + 1, self.upto + 1):
            orphan.live.append(event(seq, self.by))
        orphan.live.end(DONE)
        return True


def die(one):
    """The process is gone: nothing of it is renewed or written any more."""
    one.worker.cancel()
    for page in list(one.streams._commits.pages.values()):
        one.streams._commits.drop(page.live)


async def test_a_stream_whose_producer_died_is_gone_on_with_elsewhere(redis_url):
    heir = Heir(6)
    async with instance(redis_url) as one, instance(redis_url, on_orphan=heir) as other:
        live = await one.start(body=b"asked")
        live.reserved(("res_1",))
        live.begin(Begun(upstream="gpu-a"))
        await one.say(live, 1, 3)
        await one.until_stored(live)
        with await other.streams.open(live.id) as opened:
            assert (await opened.reader.next()).payloads == events(1, 3)
            die(one)
            batches = [batch async for batch in opened.reader]
        assert [payload for batch in batches for payload in batch.payloads] == events(4, 6, "b")
        assert {batch.epoch for batch in batches} == {live.feed.epoch}
        assert not any(batch.lost for batch in batches)
        (orphan,) = heir.orphans
        assert (orphan.origin.body, orphan.begun, orphan.reservations) == (b"asked", live.begun, ("res_1",))
        assert (orphan.events, orphan.first) == (events(1, 3), 1)
        told = await other.read(live.id, cursor(live, 2))
        assert (told.payloads, told.recovery.recovered) == ([event(3), *events(4, 6, "b")], Recovered.FULL)


async def test_of_two_owners_the_log_hears_the_second_alone(redis_url):
    heir = Heir(8)
    async with instance(redis_url, timing=FROZEN) as one, instance(redis_url, on_orphan=heir) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        told = []
        live.watch(lambda: told.append(live.deposed))
        with one.streams.reader(live) as reader:
            assert (await reader.next()).payloads == events(1, 3)
            await until(lambda: heir.orphans)
            live.append(event(4, "zombie"))
            batches = [batch async for batch in reader]
        assert live.deposed
        assert live.stop.is_set()
        assert told[-1]
        assert [payload for batch in batches for payload in batch.payloads] == events(4, 8, "b")
        live.append(event(9, "zombie"))
        live.end(Terminal(outcome=State.ERROR))
        assert not await live.confirm()
        for each in (one, other):
            again = await each.read(live.id)
            assert (again.payloads, again.terminal) == (events(1, 3) + events(4, 8, "b"), DONE)
        await until(lambda: (one.held, other.held) == (0, 0))


async def test_readers_of_a_deposed_producer_are_told_what_was_never_in_the_log(redis_url):
    """Its way to the log was cut: it showed an event early, and lost the stream before the log heard of it."""
    heir = Heir(6)
    timing = replace(QUICK, late_s=0.05)
    async with line_to(redis_url) as (line, url), instance(url, timing=timing) as one:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        with one.streams.reader(live) as reader:
            assert (await reader.next()).payloads == events(1, 3)
            line.cut()
            live.append(event(4, "early"))
            early = await reader.next()
            assert (early.payloads, early.durable) == ([event(4, "early")], False)
            async with instance(redis_url, on_orphan=heir) as other:
                await until(lambda: heir.orphans)
                line.mend()
                batches = [batch async for batch in reader]
                assert batches[0].lost == (4, 4)
                assert [payload for batch in batches for payload in batch.payloads] == events(4, 6, "b")
                assert (await other.read(live.id, early.cursor)).recovery.recovered is Recovered.NONE
                assert (await one.read(live.id, early.cursor)).recovery.recovered is Recovered.NONE
        await until(lambda: one.held == 0)


async def test_a_lease_that_is_renewed_is_nobody_else_s(redis_url):
    heir = Heir()
    async with instance(redis_url) as one, instance(redis_url, on_orphan=heir):
        live = await one.start()
        await one.until_stored(live)
        await asyncio.sleep(2 * QUICK.lease_s)
        assert not heir.orphans
        assert await live.confirm()
        assert not live.stop.is_set()


async def test_a_producer_that_was_not_heard_for_long_asks_whether_it_still_is_one(redis_url):
    heir = Heir(2)
    async with instance(redis_url, timing=replace(FROZEN, tend_s=0.4)) as one:
        one.worker.cancel()
        live = await one.start()
        await one.until_stored(live)
        assert await live.confirm()
        await asyncio.sleep(0.3)
        assert await live.confirm()  # asked, and renewed by it
        async with instance(redis_url, on_orphan=heir):
            await until(lambda: heir.orphans)
            assert not await live.confirm()
            assert live.deposed


async def test_a_producer_that_ends_hands_its_streams_over_at_once(redis_url):
    heir = Heir(5)
    async with instance(redis_url, timing=STEADY) as one, instance(redis_url, timing=STEADY, on_orphan=heir) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        with one.streams.reader(live) as reader:
            await live.let_go()
            batches = [batch async for batch in reader]
        assert [payload for batch in batches for payload in batch.payloads] == events(1, 3)
        assert batches[-1].moved
        assert batches[-1].terminal is None
        assert live.deposed
        assert not one.streams.takes_over
        told = await other.read(live.id, batches[-1].cursor)
        assert (told.payloads, told.recovery.recovered) == (events(4, 5, "b"), Recovered.FULL)
        assert one.held == 0


async def test_an_orphan_that_one_instance_refuses_is_offered_again(redis_url):
    refuses, takes = Heir(takes=False), Heir(4)
    async with instance(redis_url) as one, instance(redis_url, on_orphan=refuses) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        die(one)
        await until(lambda: len(refuses.orphans) >= 2)
        assert all(orphan.events == events(1, 3) for orphan in refuses.orphans)
        async with instance(redis_url, on_orphan=takes) as third:
            await until(lambda: takes.orphans)
            told = await third.read(live.id)
            assert (told.payloads, told.terminal) == ([*events(1, 3), event(4, "b")], DONE)
        assert other.held == 0


async def test_a_process_that_ends_gives_back_at_once_what_it_has_only_taken(redis_url):
    asked, takes = asyncio.Event(), Heir(4)

    async def ponders(_):
        asked.set()
        await asyncio.sleep(60)

    async with instance(redis_url) as one, instance(redis_url, on_orphan=ponders) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        die(one)
        await asyncio.wait_for(asked.wait(), 10)
        with (await other.streams.open(live.id)).reader as reader:
            other.streams.take_no_more()
            async with asyncio.timeout(2):
                batches = [batch async for batch in reader]
        assert [payload for batch in batches for payload in batch.payloads] == events(1, 3)
        assert batches[-1].moved
        assert other.held == 0
        async with instance(redis_url, on_orphan=takes) as third:
            told = await third.read(live.id)
            assert (told.payloads, told.terminal) == ([*events(1, 3), event(4, "b")], DONE)


async def test_an_orphan_that_nobody_goes_on_with_for_long_is_offered_to_be_ended_only(redis_url):
    refuses = Heir(takes=False)
    timing = replace(QUICK, orphan_s=0.3)
    async with instance(redis_url) as one, instance(redis_url, timing=timing, on_orphan=refuses) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        die(one)
        told = await other.read(live.id)
        assert [orphan.hopeless for orphan in refuses.orphans][-2:] == [False, True]
        assert (told.payloads, told.terminal.outcome) == (events(1, 3), State.TRUNCATED)


@pytest.mark.parametrize(("stopped", "outcome"), [(False, State.TRUNCATED), (True, State.CANCELLED)])
async def test_an_orphan_that_nobody_goes_on_with_ends(redis_url, stopped, outcome):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        die(one)
        if stopped:
            await other.streams.stop(live.id)
        told = await other.read(live.id)
        assert (told.payloads, told.terminal.outcome) == (events(1, 3), outcome)
        assert (told.terminal.error is None) == stopped


async def test_a_stop_is_heard_by_whoever_takes_the_stream_over(redis_url):
    heir = Heir(4)
    async with instance(redis_url) as one, instance(redis_url, on_orphan=heir) as other:
        other.streams.takes_over = False
        live = await one.start()
        await one.until_stored(live)
        die(one)
        await other.streams.stop(live.id)
        other.streams.takes_over = True
        await until(lambda: heir.orphans)
        assert heir.orphans[0].live.stop.is_set()


async def test_after_an_outage_producers_have_a_moment_to_be_heard(own_valkey):
    heir = Heir()
    timing = replace(QUICK, lease_s=0.5, gap_s=0.4, moment_s=3.0)
    async with instance(own_valkey.url, timing=timing) as one, instance(own_valkey.url, timing=timing, on_orphan=heir):
        live = await one.start()
        await one.until_stored(live)
        own_valkey.freeze()
        await asyncio.sleep(1.0)
        own_valkey.thaw()
        await one.pool.wait_until_up()
        live.append(event(1))
        await one.until_stored(live)
        await asyncio.sleep(0.5)
        assert not heir.orphans
        assert not live.deposed


async def test_a_log_that_may_have_forgotten_what_its_dead_producer_said_changes_the_epoch(valkey_with_file):
    """The server was restarted, and the producer never came back to say what it knows."""
    server, heir = valkey_with_file, Heir(4)
    async with instance(server.url) as one:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        before = live.feed.epoch
        async with instance(server.url) as other:
            await asyncio.sleep(3 * QUICK.tend_s)  # it knows the server that was
            other.streams.takes_over = False
            die(one)
            server.stop()
            server.start()
            await other.pool.wait_until_up()
            other.streams.on_orphan, other.streams.takes_over = heir, True
            await until(lambda: heir.orphans)
            told = await other.read(live.id, cursor(live, 3))
            assert (told.recovery.recovered, told.payloads) == (Recovered.FULL, [event(4, "b")])
            assert told.epochs.isdisjoint({before})
            assert (await other.read(live.id, cursor(live, 4))).recovery.recovered is Recovered.NONE


async def test_a_restart_that_its_producer_survives_changes_nothing(valkey_with_file):
    server = valkey_with_file
    async with instance(server.url) as one, instance(server.url) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        before = live.feed.epoch
        await asyncio.sleep(3 * QUICK.tend_s)
        server.stop()
        server.start()
        await one.pool.wait_until_up()
        await one.say(live, 4, 5)
        await until(lambda: live.durable)
        await asyncio.sleep(3 * QUICK.tend_s)
        die(one)
        told = await other.read(live.id)
        assert (told.payloads, told.epochs, told.terminal.outcome) == (events(1, 5), {before}, State.TRUNCATED)


async def test_a_producer_that_is_not_sure_of_its_stream_changes_the_epoch_of_an_empty_log(redis_url, valkey_server):
    """Somebody may have gone on with it, and that be forgotten too."""
    async with line_to(redis_url) as (line, url), instance(url) as one, instance(redis_url) as other:
        live = await one.start()
        await one.say(live, 1, 3)
        await one.until_stored(live)
        before = live.feed.epoch
        await asyncio.sleep(2 * QUICK.tend_s)
        other.streams.takes_over = False
        line.cut()
        await one.say(live, 4, 5)
        await asyncio.sleep(QUICK.lease_s)
        valkey_server.say("FLUSHALL")
        line.mend()
        await until(lambda: live.durable and live.feed.epoch != before)
        live.end(DONE)
        told = await other.read(live.id, Cursor(before, 3))
        assert (told.payloads, told.recovery.recovered) == (events(4, 5), Recovered.FULL)
        assert (await other.read(live.id, Cursor(before, 4))).recovery.recovered is Recovered.NONE
