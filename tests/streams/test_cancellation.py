"""Readers and starts that are cancelled, at any moment: nothing is lost, counted or kept because of it."""

import asyncio
import contextlib

import pytest

from citadel_edge.streams.values import Once, OnDisconnect, Policy
from logs import DONE, FINISH, OWNER, events, instance, origin, until

pytestmark = pytest.mark.usefixtures("full_speed")


async def test_a_reader_whose_waits_are_cut_short_misses_nothing(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start()
        await live.stored()
        with one.streams.reader(live) as near, await other.streams.open(live.id) as opened:
            got = {near: [], opened.reader: []}
            saying = asyncio.create_task(one.say(live, 1, 40, pause_s=0.005))  # noqa: TID251 - awaited below
            for reader, payloads in got.items():
                while len(payloads) < 40:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.003):
                            payloads.extend((await reader.next()).payloads)
            await saying
            assert list(got.values()) == [events(1, 40)] * 2
            live.end(DONE)


async def test_readers_that_are_cancelled_at_any_step_leave_no_trace(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start(Policy(on_disconnect=OnDisconnect.GRACE, grace_s=60))
        await live.stored()

        async def steps(each, count):
            reading = asyncio.create_task(each.read(live.id))  # noqa: TID251 - awaited below
            for _ in range(count):
                await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

        for count in range(40):
            live.append(b"{}")
            await asyncio.gather(steps(one, count), steps(other, count))
        await until(lambda: live.readers == 0)
        assert live.feed.readers == 0
        assert live.forsaken_at is not None
        await until(lambda: other.streams.state().followed == 0)
        live.end(DONE)
        assert len((await other.read(live.id)).payloads) == 40
        await until(lambda: (one.held, other.held) == (0, 0))


async def test_a_start_that_is_cancelled_at_any_step_can_be_made_again(redis_url):
    async with instance(redis_url) as one:
        for count in range(12):
            once = Once(key=f"key {count}", body_hash=b"h")
            starting = asyncio.create_task(  # noqa: TID251 - awaited below
                one.streams.create(origin(), OWNER, FINISH, once=once, hold=one.hold)
            )
            for _ in range(count):
                await asyncio.sleep(0)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await starting).live.discard()
            await until(lambda: not one.streams._commits.pages)
            again = await one.streams.create(origin(), OWNER, FINISH, once=once)
            assert again.created
            again.live.end(DONE)
        await until(lambda: one.held == 0)


async def test_a_stop_that_is_not_waited_for_is_asked_all_the_same(redis_url):
    async with instance(redis_url) as one, instance(redis_url) as other:
        live = await one.start()
        await live.stored()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await other.streams.stop(live.id, within_s=30)
        await until(live.stop.is_set)
        await until(lambda: live.readers == 0)
        live.end(DONE)


async def test_what_was_said_is_written_although_the_worker_is_gone(redis_url):
    async with instance(redis_url) as other:
        async with instance(redis_url) as one:
            live = await one.start()
            await live.stored()
            one.worker.cancel()
            await asyncio.sleep(0)
            await one.say(live, 1, 3)
            live.end(DONE)
        assert (await other.read(live.id)).payloads == events(1, 3)
