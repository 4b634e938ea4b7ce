import asyncio
import time

import pytest

from citadel_edge.config.shape import BudgetConfig, ListenerName
from citadel_edge.errors import Code, RequestError

MB = 2**20


class Visits:
    """Requests that keep their seat until told to go."""

    def __init__(self, budget, group):
        self.budget = budget
        self.group = group
        self.go = asyncio.Event()
        self.seated = []
        self.refused = []

    def come(self, count, *, weight=1):
        return [self.group.create_task(self._visit(n, weight)) for n in range(count)]

    async def _visit(self, n, weight):
        try:
            async with self.budget.admit(weight=weight):
                self.seated.append(n)
                await self.go.wait()
        except RequestError as error:
            self.refused.append(error)


def idle(budget):
    figures = budget.snapshot()
    return (figures["tasks"], figures["queued"], figures["bytes"], figures["spawned"]) == (0, 0, 0, 0)


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_of_300_at_once_exactly_150_are_taken_in_and_150_refused_at_once(make_budget):
    budget = make_budget(tasks=50, queue=100, queue_timeout_s=30)
    async with asyncio.TaskGroup() as group:
        visits = Visits(budget, group)
        visits.come(300)
        await turns()
        figures = budget.snapshot()
        assert (figures["tasks"], figures["queued"], len(visits.refused)) == (50, 100, 150)
        visits.go.set()
    assert len(visits.seated) == 150
    assert len(visits.refused) == 150
    assert idle(budget)
    assert budget.snapshot()["shed"] == {"queue_full": 150, "queue_timeout": 0, "memory": 0, "storage": 0}
    assert budget.snapshot()["admitted"] == 150


async def test_a_refusal_names_listener_bound_and_a_time_to_come_back(make_budget):
    budget = make_budget(ListenerName.STREAMING, tasks=1, queue=0)
    async with budget.admit():
        with pytest.raises(RequestError) as refused:
            await budget.admit().__aenter__()
    error = refused.value
    assert error.code is Code.OVERLOADED
    assert error.retry_after_s == 1
    assert error.message == (
        "streaming-api is overloaded: all 1 seats are taken and 0 of at most 0 requests wait; try again in 1 s"
    )


async def test_those_who_wait_too_long_are_refused_in_time_and_the_others_are_served(make_budget):
    budget = make_budget(tasks=1, queue=10, queue_timeout_s=0.3)
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        visits = Visits(budget, group)
        visits.come(4)
        await turns()
        while len(visits.refused) < 3:
            await asyncio.sleep(0.01)
        waited = time.monotonic() - began
        later = Visits(budget, group)
        later.come(1)
        visits.go.set()
        await turns(5)
        later.go.set()
    assert 0.3 <= waited < 3
    assert "none of its 1 seats came free within 0.3 s" in visits.refused[0].message
    assert later.seated == [0]
    assert budget.snapshot()["shed"]["queue_timeout"] == 3
    assert idle(budget)


async def test_first_come_first_served(make_budget):
    budget = make_budget(tasks=2, queue=100, queue_timeout_s=30)
    async with asyncio.TaskGroup() as group:
        visits = Visits(budget, group)
        visits.come(60)
        await turns()
        visits.go.set()
    assert visits.seated == list(range(60))


async def test_a_heavy_request_takes_its_seats_and_one_too_heavy_takes_all(make_budget):
    budget = make_budget(tasks=4, queue=0)
    async with budget.admit(weight=3):
        assert budget.snapshot()["tasks"] == 3
        async with budget.admit():
            assert budget.snapshot()["tasks"] == 4
    async with budget.admit(weight=100):
        assert budget.snapshot()["tasks"] == 4
    assert idle(budget)
    with pytest.raises(ValueError, match="at least 1"):
        budget.admit(weight=0)


async def test_a_request_that_fails_gives_everything_back(make_budget):
    budget = make_budget()

    async def fail():
        async with budget.admit() as seat:
            seat.hold(5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert idle(budget)


async def test_bytes_are_held_up_to_the_bound_and_let_go(make_budget):
    budget = make_budget(memory_mb=1)
    async with budget.admit() as one, budget.admit() as two:
        one.hold(MB - 10)
        two.hold(10)
        with pytest.raises(
            RequestError, match=r"routing-api is overloaded: it holds 1\.0 MB and may hold 1 MB"
        ) as shed:
            two.hold(1)
        assert shed.value.code is Code.OVERLOADED
        one.let_go(100)
        two.hold(100)
        assert (one.bytes, two.bytes, budget.snapshot()["bytes"]) == (MB - 110, 110, MB)
    assert idle(budget)
    assert budget.snapshot()["shed"]["memory"] == 1


async def test_a_seat_keeps_its_own_account(make_budget):
    budget = make_budget()
    async with budget.admit() as seat, budget.admit() as other:
        other.hold(100)
        seat.hold(5)
        for wrong in (6, -1):
            with pytest.raises(ValueError, match="cannot let go"):
                seat.let_go(wrong)
        with pytest.raises(ValueError, match="cannot hold"):
            seat.hold(-1)
        assert budget.snapshot()["bytes"] == 105
    with pytest.raises(RuntimeError, match="given back"):
        seat.hold(1)
    seat.let_go(5)
    assert idle(budget)


async def test_spawned_tasks_are_counted_until_they_are_done(make_budget):
    budget = make_budget()
    go = asyncio.Event()

    async def answer():
        await go.wait()
        return 42

    async with asyncio.TaskGroup() as group:
        task = budget.spawn(group, answer(), name="an answer")
        cancelled = budget.spawn(group, answer(), name="another")
        await turns()
        assert budget.snapshot()["spawned"] == 2
        assert task.get_name() == "an answer"
        cancelled.cancel()
        await turns()
        assert budget.snapshot()["spawned"] == 1
        go.set()
        assert await task == 42
    assert idle(budget)


async def test_a_task_that_cannot_be_spawned_is_not_counted_nor_left_unawaited(make_budget):
    budget = make_budget()
    with pytest.raises(RuntimeError):
        budget.spawn(asyncio.TaskGroup(), turns(), name="in no group")
    assert idle(budget)


async def test_more_seats_are_taken_at_once_by_those_who_wait(make_budget):
    budget = make_budget(tasks=1, queue=10, queue_timeout_s=30)
    async with asyncio.TaskGroup() as group:
        visits = Visits(budget, group)
        visits.come(6)
        await turns()
        budget.resize(BudgetConfig(tasks=4, queue=10))
        await turns()
        assert len(visits.seated) == 4
        visits.go.set()
    assert visits.seated == list(range(6))


async def test_fewer_seats_send_nobody_away_and_hold_from_then_on(make_budget):
    budget = make_budget(tasks=4, queue=10, queue_timeout_s=30)
    async with asyncio.TaskGroup() as group:
        visits, waiting = Visits(budget, group), Visits(budget, group)
        visits.come(4)
        await turns()
        budget.resize(BudgetConfig(tasks=1, queue=2, cpu_weight=7, storage_mb=1, memory_mb=1))
        waiting.come(3)
        await turns()
        assert (budget.snapshot()["tasks"], len(waiting.refused)) == (4, 1)
        visits.go.set()
        await turns(6)
        assert (budget.snapshot()["tasks"], len(waiting.seated)) == (1, 1)
        waiting.go.set()
    assert (budget.cpu_weight, budget.storage.limit_mb) == (7, 1)
    assert budget.snapshot()["limits"] == {"tasks": 1, "queue": 2, "bytes": MB, "storage_bytes": MB}
    assert idle(budget)


async def test_the_time_to_come_back_follows_how_long_requests_stay(make_budget):
    budget = make_budget(tasks=2, queue=0)
    budget._mean_stay_s = 30.0
    async with budget.admit(weight=2):
        with pytest.raises(RequestError) as refused:
            await budget.admit().__aenter__()
    assert refused.value.retry_after_s == 15
    budget._mean_stay_s = 1e6
    async with budget.admit(weight=2):
        with pytest.raises(RequestError) as refused:
            await budget.admit().__aenter__()
    assert refused.value.retry_after_s == 60


async def test_a_flood_on_one_listener_leaves_the_seats_of_another(make_budget):
    flooded, calm = make_budget(tasks=1, queue=1), make_budget(ListenerName.STREAMING, tasks=1, queue=1)
    async with asyncio.TaskGroup() as group:
        visits = Visits(flooded, group)
        visits.come(1000)
        await turns()
        async with calm.admit():
            assert calm.snapshot()["tasks"] == 1
        visits.go.set()
    assert len(visits.refused) == 998


async def test_a_seat_in_other_hands_is_given_back_by_these_alone(make_budget):
    b = make_budget(tasks=1)
    async with b.admit() as seat:
        seat.hold(100)
        other = seat.hand_over()
        assert (seat.bytes, other.bytes) == (0, 100)
        with pytest.raises(RuntimeError):
            seat.hold(1)
    assert (b.snapshot()["tasks"], b.snapshot()["bytes"]) == (1, 100)
    other.leave()
    other.leave()
    assert (b.snapshot()["tasks"], b.snapshot()["bytes"]) == (0, 0)


def test_what_is_under_way_is_counted_though_it_is_too_much(make_budget):
    b = make_budget(memory_mb=1)
    b.count_bytes(2**21)
    with pytest.raises(RequestError):
        b.take_bytes(1)
    b.count_bytes(-(2**21))
    b.take_bytes(1)
