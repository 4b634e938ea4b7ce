"""Waiting for a place: in turn, one call a place, nobody lost, whoever leaves and whenever."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citadel_edge.completions.waiting import Busy, CapacityWait, GaveUp, Hooks, Waiter

LONG_S = 60.0


class Places:
    """Replicas with places, as a table has them: looking and taking is one step, giving back tells."""

    def __init__(self, wait, *seats):
        self.wait = wait
        self.seats = list(seats)
        self.attempts = 0
        self.order = []
        self.retry_at = None

    def attempt(self, name, allowed=None):
        def look():
            self.attempts += 1
            free = [replica for replica, seats in enumerate(self.seats) if seats > 0]
            for replica in free:
                if allowed is None or replica in allowed:
                    self.seats[replica] -= 1
                    self.order.append(name)
                    return replica
            return Busy(self.retry_at, spare=bool(free))

        return look

    def free(self, replica=0, count=1):
        self.seats[replica] += count
        self.wait.tell()


def waiter(user="u", cost=10.0, priority=0, model="m"):
    return Waiter.of(model=model, user_id=user, priority=priority, cost_tokens=cost)


def later(seconds=LONG_S):
    return asyncio.get_running_loop().time() + seconds


async def turns(count=4):
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def wait():
    return CapacityWait()


@pytest.fixture
def crowd(wait):
    """Starts requests that want a place: `crowd(group, places, "a", …)`."""

    def start(group, places, *names, user=None, allowed=None, seconds=LONG_S, **claim):
        return [
            group.create_task(
                wait.wait(waiter(user or name, **claim), places.attempt(name, allowed), until=later(seconds)), name=name
            )
            for name in names
        ]

    return start


def at_rest(wait):
    return wait._waiting == 0 and all(
        (len(line.queue), line._called, line._timer, line._again) == (0, None, None, False)
        for line in wait._lines.values()
    )


async def test_a_free_place_is_taken_at_once(wait):
    places = Places(wait, 1)
    assert await wait.wait(waiter(), places.attempt("a"), until=later()) == 0
    assert not wait._lines


async def test_who_finds_none_waits_until_told(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        (a,) = crowd(group, places, "a")
        await turns()
        assert (a.done(), wait.must_queue("m"), wait.waiting("m")) == (False, True, 1)
        places.free()
        assert await a == 0
    assert at_rest(wait)


async def test_one_place_calls_one(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        tasks = crowd(group, places, *(f"r{number}" for number in range(100)))
        await turns()
        before = places.attempts
        places.free()
        await turns(10)
        assert places.order == ["r0"]
        assert places.attempts - before == 2  # one that takes it, one that finds no more
        places.free(count=99)
        await asyncio.gather(*tasks)
    assert places.attempts - before == 2 + 99
    assert at_rest(wait)


async def test_nobody_is_overtaken_by_who_comes_in_the_moment_a_place_comes_free(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        crowd(group, places, "first", "second", user="u")
        await turns()
        places.free()  # "first" is called, and has not looked yet …
        assert wait.must_queue("m")
        crowd(group, places, "late", user="v")  # … when another comes
        await turns(10)
        assert places.order == ["first"]
        places.free(count=2)
    assert places.order == ["first", "second", "late"]


async def test_the_called_one_that_finds_nothing_keeps_its_place(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        crowd(group, places, "a", "b", user="u")
        await turns()
        for _ in range(5):
            wait.tell()
            await turns(3)
        assert places.order == []
        places.free(count=2)
    assert places.order == ["a", "b"]


async def test_users_take_turns_and_weights_count(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        crowd(group, places, *["heavy"] * 30, cost=1000)
        await turns()
        crowd(group, places, *["light"] * 3, cost=100)
        crowd(group, places, *["best"] * 10, cost=1000, priority=9)
        await turns()
        for _ in range(16):
            places.free()
            await turns(3)
        assert Counter(places.order) == {"heavy": 3, "light": 3, "best": 10}
        assert places.order.index("light") <= 2
        places.free(count=100)
    assert at_rest(wait)


async def test_time_over_is_an_answer(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        (a,) = crowd(group, places, "a", seconds=0.02)
        (b,) = crowd(group, places, "b")
        assert await a is GaveUp.TIME_OVER
        assert wait.waiting("m") == 1
        places.free()
        assert await b == 0
    assert at_rest(wait)


async def test_a_time_that_is_over_already_gets_its_one_look(wait):
    places = Places(wait, 1)
    assert await wait.wait(waiter(), places.attempt("a"), until=later(-1)) == 0
    assert await wait.wait(waiter(), places.attempt("b"), until=later(-1)) is GaveUp.TIME_OVER
    assert at_rest(wait)


async def test_time_over_after_the_call_leaves_one_last_look(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        a, b = crowd(group, places, "a", "b")
        await turns()
        line = wait._lines["m"]
        ticket = line.queue.head()
        places.free()  # "a" is called …
        line.expire(ticket)  # … its timer runs before it does
        assert await a == 0
        assert not b.done()
        places.free()
        assert await b == 0
    assert at_rest(wait)


async def test_a_call_for_one_whose_time_has_just_run_out_goes_to_the_next(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        a, b = crowd(group, places, "a", "b", user="u")
        await turns()
        wait._lines["m"].expire(wait._lines["m"].queue.head())  # as its timer would …
        places.free()  # … in one turn with a place
        assert await b == 0
        assert await a is GaveUp.TIME_OVER
    assert at_rest(wait)


async def test_time_over_between_the_call_and_a_look_that_fails_is_the_end(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        (a,) = crowd(group, places, "a")
        await turns()
        line = wait._lines["m"]
        ticket = line.queue.head()
        wait.tell()
        line.expire(ticket)
        assert await asyncio.wait_for(asyncio.shield(a), 10) is GaveUp.TIME_OVER
    assert at_rest(wait)


async def test_a_full_queue_takes_nobody_and_says_so():
    wait = CapacityWait(max_waiting=2)
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait.wait(waiter(name), places.attempt(name), until=later())) for name in "abc"]
        await turns()
        assert await tasks[2] is GaveUp.QUEUE_FULL
        places.free(count=2)
    assert at_rest(wait)


async def test_without_room_to_wait_a_free_place_is_taken_all_the_same():
    wait = CapacityWait(max_waiting=0)
    places = Places(wait, 1)
    assert await wait.wait(waiter(), places.attempt("a"), until=later()) == 0
    assert await wait.wait(waiter(), places.attempt("b"), until=later()) is GaveUp.QUEUE_FULL


async def test_models_do_not_wait_for_each_other(wait):
    places, others = Places(wait, 0), Places(wait, 1)
    async with asyncio.TaskGroup() as group:
        blocked = group.create_task(wait.wait(waiter(), places.attempt("a"), until=later()))
        await turns()
        assert await wait.wait(waiter(model="n"), others.attempt("b"), until=later()) == 0
        wait.tell()
        await turns()
        assert not blocked.done()
        places.seats[0] = 1
        wait.tell()
        assert await blocked == 0


@pytest.mark.parametrize("tells", [1, 2, 3])
async def test_models_on_the_same_replica_take_turns(wait, tells):
    places, alive = Places(wait, 0), True

    async def client(model):
        while alive:
            if await wait.wait(waiter(model, model=model), places.attempt(model), until=later()) is GaveUp.TIME_OVER:
                return

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client(model)) for model in ("m", "m", "m", "n", "o") for _ in range(4)]
        await turns()
        for _ in range(60):
            places.seats[0] += 1
            for _ in range(tells):  # however often it is told of one place
                wait.tell()
            await turns(8)
        counts = Counter(places.order)
        alive = False
        for task in tasks:
            task.cancel()
    assert counts.total() == 60
    assert max(counts.values()) - min(counts.values()) <= 1
    assert at_rest(wait)


async def test_who_cannot_take_the_free_place_blocks_nobody_and_keeps_its_place(wait, crowd):
    places = Places(wait, 0, 0)
    async with asyncio.TaskGroup() as group:
        picky, other, third = (
            crowd(group, places, "picky", user="u", allowed={1})
            + crowd(group, places, "other", user="u")
            + crowd(group, places, "third", user="u")
        )
        await turns()
        places.free(0)
        assert await other == 0
        assert not picky.done()
        places.free(1)
        assert await picky == 1
        places.free(1)
        assert await third == 1


async def test_who_comes_while_all_others_are_passed_over_gets_its_turn(wait, crowd):
    places = Places(wait, 1, 0)
    async with asyncio.TaskGroup() as group:
        (picky,) = crowd(group, places, "picky", allowed={1})
        await turns()
        (other,) = crowd(group, places, "other")
        assert await other == 0
        (late,) = crowd(group, places, "late")
        await turns()
        assert not picky.done()
        places.free(1)
        assert await picky == 1
        places.free(0)
        assert await late == 0
    assert at_rest(wait)


async def test_what_is_told_in_the_middle_of_a_round_reaches_those_passed_over_in_it(wait, crowd):
    places = Places(wait, 0, 0)
    async with asyncio.TaskGroup() as group:
        (picky,) = crowd(group, places, "picky", allowed={1})
        tasks = crowd(group, places, "a", "b", allowed={0})
        await turns()
        places.seats[0] = 1
        wait.tell()
        await turns(1)  # picky was passed over, "a" is called …
        assert wait._lines["m"].queue.aside == 1
        places.free(1)  # … and just now the place that picky wants comes free
        assert await picky == 1
        places.free(0)
        await asyncio.gather(*tasks)
    assert at_rest(wait)


async def test_a_known_end_of_a_cooldown_calls_without_being_told(wait, crowd):
    places = Places(wait, 0)
    places.retry_at = later(0.05)
    async with asyncio.TaskGroup() as group:
        (a,) = crowd(group, places, "a")
        await turns()
        places.seats[0] = 1
        assert await asyncio.wait_for(asyncio.shield(a), 10) == 0
    assert at_rest(wait)


async def test_the_earliest_end_counts_and_a_wrong_one_does_not_spin(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        places.retry_at = later(300)
        (a,) = crowd(group, places, "a")
        await turns()
        places.retry_at = later(-5)  # for ever in the past
        wait.tell()
        await asyncio.sleep(0.2)
        assert 3 <= places.attempts <= 30
        places.free()
        assert await a == 0
    assert at_rest(wait)


async def test_the_timer_goes_with_the_last_who_waits(wait, crowd):
    places = Places(wait, 0)
    places.retry_at = later(300)
    async with asyncio.TaskGroup() as group:
        a, b = crowd(group, places, "a", "b")
        await turns()
        a.cancel()
        await turns()
        assert wait._lines["m"]._timer is not None
        b.cancel()
    assert at_rest(wait)


async def test_an_attempt_that_raises_ends_its_waiting_and_calls_the_next(wait, crowd):
    places = Places(wait, 0)
    broken = [False]

    def attempt():
        if broken[0]:
            raise LookupError("the model is gone")
        return Busy()

    async with asyncio.TaskGroup() as group:
        first = group.create_task(_quietly(wait.wait(waiter("a"), attempt, until=later())))
        (second,) = crowd(group, places, "second")
        await turns()
        broken[0] = True
        places.free()
        assert await second == 0
        assert isinstance(await first, LookupError)
    assert at_rest(wait)


async def test_an_attempt_that_tells_does_not_go_round_for_ever(wait):
    attempts = []

    def attempt():
        attempts.append(1)
        wait.tell()
        return Busy(spare=True)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait.wait(waiter(name), attempt, until=later())) for name in "ab"]
        await turns()
        wait.tell()
        await turns(50)
        assert len(attempts) <= 6
        for task in tasks:
            task.cancel()
    assert at_rest(wait)


async def test_what_it_cost_is_settled_once_and_counts_in_the_order(wait, crowd):
    places = Places(wait, 0)
    mine = waiter("a", cost=10)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait.wait(mine, places.attempt("a"), until=later()))
        await turns()
        crowd(group, places, *"ababab", cost=10)
        await turns()
        places.free()
        await task
        wait.settle(mine, 30)
        wait.settle(mine, 1_000_000)
        places.free(count=6)
    assert places.order == [*"abbbaaa"]


async def test_who_did_not_wait_is_charged_nothing_and_settles_nothing(wait, crowd):
    places = Places(wait, 1)
    mine = waiter("a")
    await wait.wait(mine, places.attempt("a"), until=later())
    wait.settle(mine, 1_000_000)
    async with asyncio.TaskGroup() as group:
        crowd(group, places, *"ab")
        await turns()
        places.free(count=2)
    assert places.order == [*"aab"]


async def test_one_that_comes_again_was_not_served_and_is_not_charged_twice(wait, crowd):
    places = Places(wait, 0)
    mine = waiter("a", cost=100)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait.wait(mine, places.attempt("a"), until=later()))
        await turns()
        crowd(group, places, *"bb", cost=60)
        await turns()
        places.free()
        await task
        again = group.create_task(wait.wait(mine, places.attempt("a"), until=later()))
        await turns()
        places.free(count=2)
        await again
        places.free()
    assert places.order == [*"abab"]


async def test_hooks_are_told_who_waits_how_long_and_who_gave_up():
    gauge, seconds, gave_up = [], [], []
    hooks = Hooks(
        waiting=lambda *told: gauge.append(told),
        waited=lambda *told: seconds.append(told),
        gave_up=lambda *told: gave_up.append(told),
    )
    wait = CapacityWait(max_waiting=1, hooks=hooks)
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait.wait(waiter(), places.attempt("a"), until=later(0.03)))
        await turns()
        await wait.wait(waiter(), places.attempt("b"), until=later())
        await task
    assert gauge == [("m", 1), ("m", 0)]
    assert gave_up == [("m", GaveUp.QUEUE_FULL), ("m", GaveUp.TIME_OVER)]
    assert [model for model, _ in seconds] == ["m"]
    assert 0.02 <= seconds[0][1] < 5


async def test_lines_of_models_that_are_gone_are_dropped(wait, monkeypatch):
    monkeypatch.setattr("citadel_edge.completions.waiting._MAX_LINES", 10)
    for number in range(50):
        await wait.wait(waiter(model=f"m{number}"), Busy, until=later(-1))
    assert len(wait._lines) <= 10


@pytest.mark.parametrize("at", range(12))
@pytest.mark.parametrize("picky", [False, True])
async def test_cancelled_at_any_turn_the_place_goes_to_the_next(wait, crowd, at, picky):
    places = Places(wait, 0, 0)
    async with asyncio.TaskGroup() as group:
        head = crowd(group, places, "head", user="u")
        victim = crowd(group, places, "victim", user="u", allowed={1} if picky else None)
        rest = crowd(group, places, "rest", user="u")
        async with asyncio.timeout(20):
            for turn in range(12):
                if turn == at:
                    victim[0].cancel()
                if turn == 3:
                    places.free(0)
                if turn == 6:
                    places.free(0)
                if turn == 9 and victim[0].done() and not victim[0].cancelled():
                    places.free(victim[0].result())
                await asyncio.sleep(0)
            assert (await head[0], await rest[0] if victim[0].done() else 0) == (0, 0)
        victim[0].cancel()
        for task in rest:
            task.cancel()
    assert at_rest(wait)


async def test_cancelled_in_the_moment_of_its_call_the_next_is_called_exactly_once(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        a, b, c = crowd(group, places, "a", "b", "c")
        await turns()
        places.free()  # "a" is called here …
        a.cancel()  # … and cancelled before it looks
        assert await b == 0
        await turns()
        assert (a.cancelled(), c.done(), places.order) == (True, False, ["b"])
        c.cancel()
    assert at_rest(wait)


async def test_cancelled_right_before_the_call_it_is_passed_over(wait, crowd):
    places = Places(wait, 0)
    async with asyncio.TaskGroup() as group:
        a, b = crowd(group, places, "a", "b")
        await turns()
        a.cancel()
        places.free()
        assert await b == 0
    assert at_rest(wait)


STEP = st.one_of(
    st.tuples(st.just("come"), st.sampled_from("abc"), st.sampled_from((None, None, {0}, {1}))),
    st.tuples(st.just("hasty"), st.sampled_from("abc"), st.sampled_from((None, {0}, {1}))),
    st.tuples(st.just("free"), st.integers(0, 1), st.integers(1, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.none()),
    st.tuples(st.just("tell"), st.none(), st.none()),
    st.tuples(st.just("turn"), st.integers(1, 3), st.none()),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(STEP, max_size=60))
def test_in_every_interleaving_no_place_stays_free_for_which_somebody_waits(steps):
    asyncio.run(_play(steps))


async def _play(steps):
    wait = CapacityWait()
    places = Places(wait, 0, 0)
    given_places, tells, tasks = 0, 0, []
    async with asyncio.TaskGroup() as group:
        for number, (kind, what, how) in enumerate(steps):
            if kind in {"come", "hasty"}:
                until = later(LONG_S if kind == "come" else 0)
                request = wait.wait(waiter(what, cost=number + 1), places.attempt(number, how), until=until)
                tasks.append((group.create_task(request), how))
            elif kind == "free":
                places.free(what, how)
                given_places += how
                tells += 1
            elif kind == "cancel" and tasks:
                tasks[what % len(tasks)][0].cancel()
            elif kind == "tell":
                wait.tell()
                tells += 1
            elif kind == "turn":
                await turns(what)
        await turns(3 * len(steps) + 10)
        done = [task for task, _ in tasks if task.done() and not task.cancelled()]
        seated = [task.result() for task in done if not isinstance(task.result(), GaveUp)]
        assert len(seated) == len(places.order) == given_places - sum(places.seats)
        waits = [allowed for task, allowed in tasks if not task.done()]
        for allowed in waits:
            assert not any(places.seats[replica] for replica in (allowed or {0, 1}))
        assert wait._waiting == len(waits) == wait.waiting("m")
        passed_over = sum(allowed is not None for _, allowed in tasks)
        assert places.attempts <= len(tasks) + len(seated) + tells * (1 + passed_over) + passed_over * len(tasks)
        for task, _ in tasks:
            task.cancel()
    assert at_rest(wait)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["come", "free", "cancel", "turn"]), st.integers(0, 20)), max_size=60))
def test_in_every_interleaving_one_users_requests_are_served_in_order(steps):
    asyncio.run(_play_one_user(steps))


async def _play_one_user(steps):
    wait = CapacityWait()
    places, tasks = Places(wait, 0), []
    async with asyncio.TaskGroup() as group:
        for number, (kind, what) in enumerate(steps):
            if kind == "come":
                tasks.append(group.create_task(wait.wait(waiter(), places.attempt(number), until=later())))
            elif kind == "free":
                places.free()
            elif kind == "cancel" and tasks:
                tasks[what % len(tasks)].cancel()
            else:
                await turns(1)
        await turns(3 * len(steps) + 10)
        assert places.order == sorted(places.order)
        for task in tasks:
            task.cancel()
    assert at_rest(wait)


@pytest.mark.parametrize("seed", range(10))
async def test_a_storm_leaks_nothing(seed):
    chance = random.Random(seed)
    wait = CapacityWait(max_waiting=20)
    places = Places(wait, 2, 1)

    async def restless(name):
        allowed = chance.choice((None, None, {0}, {1}))
        until = later(chance.choice((0, 0.005, 5)))
        mine = waiter(chance.choice("abc"), cost=chance.randrange(1000), priority=chance.randrange(101))
        for _ in range(2):
            place = await wait.wait(mine, places.attempt(name, allowed), until=until)
            if isinstance(place, GaveUp):
                return
            try:
                await asyncio.sleep(chance.choice((0, 0, 0.001)))
            finally:
                places.free(place)
        wait.settle(mine, chance.randrange(2000))

    async with asyncio.TaskGroup() as group:
        tasks = []
        for number in range(200):
            tasks.append(group.create_task(restless(number)))
            for _ in range(chance.randrange(3)):
                chance.choice(tasks).cancel()
            if chance.random() < 0.4:
                await asyncio.sleep(chance.choice((0, 0, 0.002)))
    assert at_rest(wait)
    assert places.seats == [2, 1]


async def _quietly(coro):
    try:
        return await coro
    except LookupError as error:
        return error
