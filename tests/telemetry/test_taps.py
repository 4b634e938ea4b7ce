import asyncio
import json
import threading

import pytest


async def read(tap, count):
    return [json.loads(await asyncio.wait_for(anext(tap), 10)) for _ in range(count)]


async def test_an_onlooker_sees_its_listeners_lines_as_they_come(desk, start):
    logs = desk().logs
    async with logs.tap("routing-api") as lines:
        waiting = start(anext(lines))
        await asyncio.sleep(0)
        logs.logger("streaming-api").info("not this")
        logs.logger().info("nor this")
        logs.logger("routing-api").info("this", api_key="hunter2")
        line = await waiting
    assert line.endswith(b"\n")
    assert json.loads(line)["event"] == "this"
    assert b"hunter2" not in line


async def test_an_onlooker_of_all_sees_all(desk):
    logs = desk().logs
    async with logs.tap() as lines:
        logs.logger("streaming-api").info("a")
        logs.logger().info("b")
        assert [line["event"] for line in await read(lines, 2)] == ["a", "b"]


async def test_what_was_said_before_and_after_is_not_seen(desk):
    logs = desk().logs
    logs.logger().info("before")
    async with logs.tap() as lines:
        logs.logger().info("during")
    logs.logger().info("after")
    logs.close()
    assert [json.loads(line)["event"] async for line in lines] == ["during"]
    assert not logs._taps


async def test_a_slow_onlooker_loses_the_oldest_and_is_told(desk):
    logs = desk().logs
    async with logs.tap(size=3) as lines:
        for n in range(10):
            logs.logger().info("x", n=n)
        first, *rest = await read(lines, 4)
    assert (first["event"], first["count"]) == ("log lines skipped", 7)
    assert [line["n"] for line in rest] == [7, 8, 9]


async def test_lines_of_other_threads_arrive(desk):
    logs = desk().logs

    def talk():
        for n in range(200):
            logs.logger().info("x", n=n)

    async with logs.tap() as lines:
        thread = threading.Thread(target=talk)
        thread.start()
        assert [line["n"] for line in await read(lines, 200)] == list(range(200))
        thread.join()


async def test_closing_the_logs_ends_the_lines(desk, start):
    logs = desk().logs
    async with logs.tap() as lines:
        logs.logger().info("last")
        waiting = start(collect(lines))
        await asyncio.sleep(0)
        logs.close()
        assert await asyncio.wait_for(waiting, 10) == ["last"]


async def collect(lines):
    return [json.loads(line)["event"] async for line in lines]


async def test_a_cancelled_onlooker_is_gone(desk, start):
    logs = desk().logs

    async def look():
        async with logs.tap() as lines:
            await collect(lines)

    looking = start(look())
    await asyncio.sleep(0)
    assert logs._taps
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert not logs._taps


def test_an_onlooker_whose_loop_has_ended_is_forgotten(desk):
    logs = desk().logs

    async def enter():
        await logs.tap().__aenter__()

    asyncio.run(enter())
    logs.logger().info("x")
    assert not logs._taps
