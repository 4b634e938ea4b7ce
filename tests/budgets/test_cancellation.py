"""Cancel at every await, in every order: seats, places, bytes and tasks come back to zero."""

import asyncio
import random

import pytest

from citadel_edge.errors import RequestError


def idle(budget):
    figures = budget.snapshot()
    return (figures["tasks"], figures["queued"], figures["bytes"], figures["spawned"]) == (0, 0, 0, 0)


async def turn():
    await asyncio.sleep(0)


async def visit(budget, log, name, go):
    async with budget.admit() as seat:
        log.append(name)
        seat.hold(100)
        await go.wait()


async def test_a_waiter_that_is_cancelled_leaves_its_place(make_budget):
    budget = make_budget(tasks=1, queue=1, queue_timeout_s=30)
    async with budget.admit(), asyncio.TaskGroup() as group:
        waiter = group.create_task(visit(budget, [], "a", asyncio.Event()))
        await turn()
        assert budget.snapshot()["queued"] == 1
        waiter.cancel()
        await turn()
        assert budget.snapshot()["queued"] == 0
    assert idle(budget)


async def test_a_request_cancelled_in_its_seat_hands_it_on(make_budget):
    budget, log, go = make_budget(tasks=1, queue=5, queue_timeout_s=30), [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(visit(budget, log, "first", go))
        group.create_task(visit(budget, log, "second", go))
        await turn()
        first.cancel()
        await turn()
        await turn()
        assert log == ["first", "second"]
        go.set()
    assert idle(budget)


async def test_a_waiter_cancelled_right_after_it_was_handed_the_seat_hands_it_on(make_budget):
    budget, log, go = make_budget(tasks=1, queue=5, queue_timeout_s=30), [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        seat = budget.admit()
        await seat.__aenter__()
        handed = group.create_task(visit(budget, log, "handed", go))
        after = group.create_task(visit(budget, log, "after", go))
        await turn()
        await seat.__aexit__(None, None, None)  # the seat is handed over here …
        handed.cancel()  # … and before its task runs, it is cancelled
        await turn()
        await turn()
        assert log == ["after"]
        assert handed.cancelled()
        assert budget.snapshot()["tasks"] == 1
        go.set()
        await after
    assert idle(budget)


async def test_a_waiter_cancelled_right_before_the_seat_comes_free_is_passed_over(make_budget):
    budget, log, go = make_budget(tasks=1, queue=5, queue_timeout_s=30), [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        seat = budget.admit()
        await seat.__aenter__()
        waiter = group.create_task(visit(budget, log, "waiter", go))
        after = group.create_task(visit(budget, log, "after", go))
        await turn()
        waiter.cancel()  # its future is cancelled now, its task has not run yet …
        await seat.__aexit__(None, None, None)  # … and the room still thinks it waits
        for _ in range(4):
            await turn()
        assert log == ["after"]
        go.set()
        await after
    assert idle(budget)


async def test_a_deadline_and_a_hand_over_in_one_turn_serve_the_waiter_once(make_budget):
    budget = make_budget(tasks=1, queue=5, queue_timeout_s=0.001)
    async with asyncio.TaskGroup() as group:
        seat = budget.admit()
        await seat.__aenter__()
        log, go = [], asyncio.Event()
        waiter = group.create_task(visit(budget, log, "waiter", go))
        await turn()
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.05
        while loop.time() < until:  # the timer is due, and has not run
            pass
        await seat.__aexit__(None, None, None)
        await turn()
        await turn()
        assert log == ["waiter"]
        go.set()
        await waiter
    assert idle(budget)
    assert budget.snapshot()["shed"]["queue_timeout"] == 0


async def test_cancelled_together_with_its_deadline_it_is_cancelled_and_nothing_stays(make_budget):
    budget = make_budget(tasks=1, queue=5, queue_timeout_s=0.02)
    async with budget.admit(), asyncio.TaskGroup() as group:
        waiter = group.create_task(visit(budget, [], "x", asyncio.Event()))
        await turn()
        asyncio.get_running_loop().call_later(0.02, waiter.cancel)
        with pytest.raises((asyncio.CancelledError, RequestError)):
            await waiter
    assert idle(budget)


@pytest.mark.parametrize("seed", range(20))
async def test_a_storm_of_cancellations_leaks_nothing(make_budget, seed):
    chance = random.Random(seed)
    budget = make_budget(tasks=3, queue=8, queue_timeout_s=0.01, memory_mb=1)
    refused = []

    async def restless():
        try:
            async with budget.admit(weight=chance.choice((1, 1, 2, 5))) as seat:
                seat.hold(chance.randrange(400_000))
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(chance.choice((0, 0, 0.001)))
        except RequestError as error:
            refused.append(error)

    async with asyncio.TaskGroup() as group:
        tasks = []
        for _ in range(150):
            tasks.append(group.create_task(restless()))
            for _ in range(chance.randrange(3)):
                chance.choice(tasks).cancel()
            if chance.random() < 0.4:
                await asyncio.sleep(chance.choice((0, 0, 0.002)))
    assert idle(budget)
    async with budget.admit(weight=3):
        assert budget.snapshot()["tasks"] == 3


@pytest.mark.parametrize("at", range(12))
async def test_cancelled_at_any_turn_of_its_life_a_request_leaves_nothing(make_budget, at):
    """One request, spawning a task, behind a queue that moves a place a turn; cancelled after `at` turns."""
    budget = make_budget(tasks=1, queue=5, queue_timeout_s=30)
    go = asyncio.Event()

    async def request():
        async with budget.admit() as seat, asyncio.TaskGroup() as group:
            seat.hold(10)
            budget.spawn(group, turn(), name="child")
            await turn()
            seat.hold(10)
            await turn()

    async with asyncio.TaskGroup() as group:
        group.create_task(visit(budget, [], "holder", go))
        group.create_task(request())
        victim = group.create_task(request())
        group.create_task(request())
        await turn()
        go.set()
        for _ in range(at):
            await turn()
        victim.cancel()
    assert idle(budget)
