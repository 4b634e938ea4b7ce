"""A stream that the log can never take is no other stream's trouble."""

import asyncio
from functools import partial

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from citadel_edge.streams.values import Once, State
from logs import DONE, FINISH, OWNER, STEADY, event, events, instance, origin, until

UNFIT = origin(session="a\udcff")
"""No encoder writes a lone surrogate."""
QUICKLY = partial(instance, timing=replace(STEADY, tend_s=0.05))


async def _unfit(one):
    return (await one.streams.create(UNFIT, OWNER, FINISH, hold=one.hold)).live


async def test_the_others_of_its_slot_are_logged_and_it_is_tried_once(redis_url):
    with capture_logs() as said:
        async with QUICKLY(redis_url) as one:
            one_before, unfit, beside = await one.start(), await _unfit(one), await one.start()
            assert one_before.id[4] == unfit.id[4] == beside.id[4]
            for live in (one_before, unfit, beside):
                live.append(event(1))
            await one.until_stored(beside)
            await one.until_stored(one_before)
            unfit.append(event(2))
            after = await one.start()
            after.append(event(1))
            await one.until_stored(after)
            assert not unfit.durable
            assert one.streams.state().durable
            for live in (one_before, beside, after):
                live.end(DONE)
            unfit.end(DONE)
            await until(lambda: one.streams.state().running == 0)
    failures = [line for line in said if line["log_level"] == "error"]
    assert [(line["event"], line["stream"]) for line in failures] == [("a stream cannot be logged", unfit.id)]


async def test_it_is_read_from_memory_to_its_end_and_nothing_of_it_is_durable(redis_url):
    async with QUICKLY(redis_url, retention_s=0.1) as one:
        live = await _unfit(one)
        await one.say(live, 1, 3)
        async with asyncio.timeout(2):
            await live.stored()
        with one.streams.reader(live) as reader:
            first = await reader.next()
            assert (first.payloads, first.durable) == (events(1, 3), False)
            await one.say(live, 4, 5)
            assert (await reader.next()).payloads == events(4, 5)
            assert await live.confirm()
            live.end(DONE)
            assert (await reader.next()).terminal == DONE
        with await one.streams.open(live.id, first.cursor) as opened:
            assert (await opened.reader.next()).payloads == events(4, 5)
        await until(lambda: one.held == 0)


async def test_it_holds_no_producer_up(redis_url):
    async with QUICKLY(redis_url, max_bytes=2**20) as one:
        live = await _unfit(one)
        live.append(event(1))
        await live.stored()
        async with asyncio.timeout(5):
            for _ in range(40):
                live.append(b"x" * 2**16)
                await live.room()
        assert one.held < 2**21
        live.end(DONE)


@pytest.mark.parametrize("said", [0, 1])
async def test_one_that_is_discarded_is_gone(redis_url, said):
    async with QUICKLY(redis_url) as one:
        live = await _unfit(one)
        await one.say(live, 1, said)
        if said:
            await live.stored()
        live.discard()
        assert live.state is State.ERROR
        await until(lambda: one.streams.state().running == 0 and one.held == 0)


async def test_a_start_under_a_key_fails_alone(redis_url):
    async with QUICKLY(redis_url) as one:
        once = Once(key="usr_1:unfit", body_hash=b"1")
        with pytest.raises(UnicodeEncodeError):
            await one.streams.create(UNFIT, OWNER, FINISH, once=once, hold=one.hold)
        live = await one.start(once=once)
        live.append(event(1))
        await one.until_stored(live)
        live.end(DONE)
        await until(lambda: one.held == 0)
