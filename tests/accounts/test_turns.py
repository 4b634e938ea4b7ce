"""Turns to ask much: two at once, one a user, and none waits for ever."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from citadel_edge.accounts import turns
from citadel_edge.accounts.turns import Turns
from citadel_edge.errors import Code, RequestError


async def test_a_user_who_asks_for_many_has_one_and_another_is_not_kept_waiting():
    shared, served = Turns(), []

    async def ask(user):
        async with shared.turn(user):
            served.append(user)
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(ask("greedy"))
        await asyncio.sleep(0)
        group.create_task(ask("other"))
    assert served.index("other") <= 1
    assert served.count("greedy") == 10
    assert not shared._own, "nobody who left is remembered"


async def test_two_users_have_theirs_at_the_same_time_and_a_third_waits():
    shared = Turns()
    async with AsyncExitStack() as held:
        for user in ("one", "two"):
            await held.enter_async_context(shared.turn(user))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await held.enter_async_context(shared.turn("three"))
    async with shared.turn("three"):
        assert list(shared._own) == ["three"]


async def test_who_waits_too_long_is_told_to_come_again(monkeypatch):
    monkeypatch.setattr(turns, "WAIT_S", 0.05)
    shared = Turns()
    async with shared.turn("one"):
        with pytest.raises(RequestError) as caught:
            async with shared.turn("one"):
                pytest.fail("it is taken")
        assert (caught.value.code, caught.value.retry_after_s) == (Code.OVERLOADED, 0.05)
        async with shared.turn("two"):
            pass
    async with shared.turn("one"):
        pass
