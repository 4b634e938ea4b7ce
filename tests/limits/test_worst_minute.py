"""The most that any 60 s see, over an hour of somebody who tries to see more of the Book and of the script.

What is counted is what was admitted, and it is never more than `limit + max(burst, largest admitted)`. What is given
back may be taken again: it is taken off in the minute in which it was given back. What a request used beyond what it
had asked for was not admitted: it is not counted, and lets nobody in.

Time is the server's as far as it goes forward: no bucket drains in an hour that the clock takes twice.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from random import Random

import pytest

from citadel_edge.limits.gcra import Book
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.values import Spent, Unit, Verdict
from limits.asked import DAY, HOUR, MINUTE, NOON, RPM, SECOND, TPM, limit, order

pytestmark = pytest.mark.usefixtures("full_speed")
PLANS = ((600, 120), (600, 600), (60, 600), (2000, 1), (37, 5))
"""A limit and its burst."""
SEEDS = range(8)


class Both:
    """The Book and the script at a time that is told: they say the same."""

    def __init__(self, pool):
        self.now_ms = NOON
        self._book = Book()
        self._store = RedisStore(pool, pretended_ms=lambda: self.now_ms)

    async def reserve(self, asked):
        answer = await self._store.reserve(asked)
        assert answer == self._book.reserve(asked, self.now_ms)
        return answer

    async def settle(self, reservation, spent):
        ended = await self._store.settle(reservation, spent)
        assert ended == self._book.settle(reservation, spent, self.now_ms)
        return ended


@dataclass
class Taken:
    """What one request took, when, and what it gave back, when."""

    id: str
    at: int
    units: int
    burst: int
    given: int = 0
    given_at: int | None = None


@dataclass
class Attacker:
    """Takes whatever it gets. `elapsed` is the time that went forward, `left` what would fit."""

    both: Both
    name: str
    luck: Random
    plan: tuple[int, int] = PLANS[0]
    elapsed: int = 0
    left: int = 0
    taken: list[Taken] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    """When, and against which limit."""

    async def spend_an_hour(self, *moves):
        while self.elapsed < HOUR:
            await self.luck.choice(moves)(self)

    async def ask(self, units):
        one = limit(self.name, self.plan[0], burst=self.plan[1])
        cost = {"tokens": units} if one.unit is Unit.TOKENS else {"requests": units}
        wanted = order(one, **cost, kept=Spent(units, units), ttl_ms=DAY, leases=False)
        self.asked.append((self.elapsed, self.plan[0]))
        answer = await self.both.reserve(wanted)
        self.left = max(0, self.plan[1] - -(-answer.levels[0].amount // MINUTE))
        if answer.verdict is Verdict.ADMITTED:
            self.taken.append(Taken(wanted.reservation, self.elapsed, units, self.plan[1]))

    async def settle(self, one, units):
        assert await self.both.settle(one.id, Spent(units, units)) is not None
        one.given, one.given_at = max(0, one.units - units), self.elapsed

    def wait(self, step_ms):
        self.both.now_ms += step_ms
        self.elapsed += max(0, step_ms)

    def held(self):
        return [one for one in self.taken if one.given_at is None]


async def takes_all(attacker):
    """The largest first or something small, then whatever still fits."""
    rate, burst = attacker.plan
    await attacker.ask(attacker.luck.choice([rate, rate, rate, burst, burst + 1, 1 + burst // 7, 1]))
    while attacker.left:
        await attacker.ask(attacker.luck.choice([attacker.left, attacker.left, 1 + attacker.left // 2]))


async def packs_the_edges(attacker):
    """Saves up, takes all, takes what drains, and takes all when the minute is just over or just not."""
    rate, burst = attacker.plan
    attacker.wait(max(rate, burst) * MINUTE // rate)
    await takes_all(attacker)
    pauses = attacker.luck.randrange(3)
    for part in range(pauses + 1):
        attacker.wait(MINUTE // (pauses + 1) + (attacker.luck.choice([-1, 0, 0, 1]) if part == pauses else 0))
        await takes_all(attacker)


async def takes_what_drains(attacker):
    """A unit whenever there may be one, and just before."""
    for _ in range(5):
        attacker.wait(MINUTE // attacker.plan[0] + attacker.luck.choice([-1, 0, 1]))
        await attacker.ask(1)


async def rests(attacker):
    attacker.wait(attacker.luck.choice([SECOND, 20 * SECOND, MINUTE - 1, MINUTE, 2 * MINUTE]))


async def changes_plan(attacker):
    attacker.plan = attacker.luck.choice(PLANS)


async def steps_the_clock(attacker):
    attacker.wait(attacker.luck.choice([-HOUR, -MINUTE, -SECOND, -1, SECOND, MINUTE]))


async def gives_back(attacker):
    """All of what it holds, or some, wholly or in part, and some with more than was taken."""
    held, share = attacker.held(), attacker.luck.choice([0, 0, 0.1, 0.9, 1, 3])
    for one in held[: attacker.luck.choice([1, len(held)])]:
        await attacker.settle(one, int(one.units * share))


async def holds_and_swaps(attacker):
    """One by one gives back what it held for long, and takes as much."""
    for one in attacker.held()[:20]:
        await attacker.settle(one, 0)
        await attacker.ask(one.units)


def minutes(attacker):
    """Of each minute that begins with an admission: what was admitted in it, when it began and ended, and its bound."""
    begins = [one.at for one in attacker.taken]
    asked = [at for at, _ in attacker.asked]
    for place, one in enumerate(attacker.taken):
        if place and begins[place - 1] == one.at:
            continue
        end = one.at + MINUTE
        inside = attacker.taken[place : bisect_right(begins, end)]
        limits = attacker.asked[max(0, bisect_left(asked, one.at) - 1) : bisect_right(asked, end)]
        bound = max(rate for _, rate in limits) + max(max(each.burst, each.units) for each in inside)
        yield inside, one.at, end, bound


def given_back(ones, start, end):
    return sum(one.given for one in ones if one.given_at is not None and start <= one.given_at <= end)


@pytest.fixture
def both(each_pool):
    return Both(each_pool)


@pytest.mark.parametrize(("name", "plan"), [*((TPM, plan) for plan in PLANS), (RPM, PLANS[0])])
async def test_no_minute_sees_more_and_one_sees_nearly_all_of_it(both, name, plan):
    attacker = Attacker(both, name, Random(1), plan)
    await attacker.spend_an_hour(packs_the_edges, packs_the_edges, takes_all, takes_what_drains, rests)
    worst = [(sum(one.units for one in inside), bound) for inside, _, _, bound in minutes(attacker)]
    assert all(admitted <= bound for admitted, bound in worst)
    assert max(admitted / bound for admitted, bound in worst) > 0.98, "else the attacker is none"


@pytest.mark.parametrize("seed", SEEDS)
async def test_nor_when_plans_change_and_clocks_step(both, seed):
    attacker = Attacker(both, TPM, Random(seed))
    await attacker.spend_an_hour(packs_the_edges, takes_all, takes_what_drains, rests, changes_plan, steps_the_clock)
    for inside, _, _, bound in minutes(attacker):
        assert sum(one.units for one in inside) <= bound


@pytest.mark.parametrize("seed", SEEDS)
async def test_nor_is_more_taken_than_that_and_what_is_given_back(both, seed):
    attacker = Attacker(both, TPM, Random(seed))
    moves = packs_the_edges, takes_all, rests, gives_back, holds_and_swaps
    await attacker.spend_an_hour(*moves, *((changes_plan, steps_the_clock) if seed % 2 else ()))
    for inside, start, end, bound in minutes(attacker):
        assert sum(one.units for one in inside) - given_back(attacker.taken, start, end) <= bound


async def test_what_was_held_unused_for_long_may_be_taken_at_once_when_it_is_given_back(both):
    """It was paid for by waiting. So a minute may use more than its bound: by as much as older ones give back in it."""
    attacker = Attacker(both, TPM, Random(0), (600, 600))
    await attacker.ask(600)
    attacker.wait(MINUTE)
    await attacker.ask(600)
    await attacker.ask(1)
    await attacker.settle(attacker.taken[0], 0)
    await attacker.ask(600)
    await attacker.ask(1)
    assert [(one.at, one.units) for one in attacker.taken] == [(0, 600), (MINUTE, 600), (MINUTE, 600)]
