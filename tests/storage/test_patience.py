import asyncio
import socket
import time

import pytest

from citadel_edge.storage.patience import patience


async def test_what_ends_in_time_is_not_disturbed():
    async with patience(10):
        await asyncio.sleep(0)


async def test_what_takes_too_long_times_out():
    with pytest.raises(TimeoutError):
        async with patience(0.01):
            await asyncio.sleep(60)


async def test_an_answer_that_arrived_while_the_loop_was_held_up_counts():
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    async with patience(0.02):
        theirs.send(b"x")
        time.sleep(0.2)  # noqa: ASYNC251 - the loop is held up beyond the deadline
        assert await reader.readexactly(1) == b"x"
    theirs.close()
    writer.close()
    await writer.wait_closed()


async def test_a_cancelled_body_is_cancelled_and_not_late():
    async def wait():
        async with patience(60):
            await asyncio.sleep(60)

    task = asyncio.ensure_future(wait())  # noqa: TID251 - awaited below
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
