"""The scripts on a real server against the Book in Python: the same orders at the same times, and no answer differs.

The scripts are those that ship. They are told the time, because a server's clock cannot be set.
"""

import asyncio
import hashlib
from datetime import UTC
from itertools import count, product
from random import Random
from typing import NamedTuple

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test
from msgspec.structs import replace

from citadel_edge.limits.gcra import Book
from citadel_edge.limits.plan import Periods
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.standings import standings
from citadel_edge.limits.values import KINDS, MOST, Dimension, Kind, LimitName, Order, Spent, Unit, Verdict
from limits.asked import DAY, HOUR, MINUTE, NOON

USERS = ("usr_1", "usr_2")
MODELS = ("alpha", "beta:8b")
PLACES = ("u", "o", "um", "om", "ue")
PERIODS_OFF = [0] * 12 + [DAY, -DAY]
STEPS = st.sampled_from([0, 1, 7, 333, 1000, 5000, 20_000, MINUTE, HOUR, -1, -50, -2000, -MINUTE, -HOUR, -DAY])
SEARCH = settings(max_examples=80, stateful_step_count=50, deadline=None, phases=set(Phase) - {Phase.explain})
"""How long it looks. Explaining what it finds would trace the loop, which the guards take for blocking it."""
LUCK = st.builds(Random, st.integers(0, 2**32))
"""One draw for all that need not shrink by itself."""


class Scale(NamedTuple):
    """Sizes that go together, so that limits are reached and passed."""

    limits: list[int]
    costs: list[int]


SCALES = (
    Scale([0, 1, 2, 3, 5, 8, 20], [0, 1, 1, 1, 2, 3, 9]),
    Scale([0, 60, 100, 1000, 3000], [0, 1, 10, 50, 199, 700, 1500]),
    Scale([0, 5 * 10**9, 10**10, 9 * 10**15], [0, 10**9, 10**10, 5 * 10**10, 10**12, 4 * 10**15, 10**16]),
)


class Terms(NamedTuple):
    """What a plan says of one limit."""

    limit: int
    burst: int
    extra: int
    lapsed: int


class Asked(NamedTuple):
    """An order, by whom and when."""

    order: Order
    user: str
    model: str
    began_ms: int


class Bench:
    """A pool on a loop that stands still between steps, and a store at a time that is told."""

    def __init__(self, runner, opened):
        self._runner = runner
        self._done = asyncio.Event()
        pool = runner.get_loop().create_future()
        self._holding = runner.get_loop().create_task(self._hold(opened, pool))
        self.pool = self.run(pool)
        self.now_ms = NOON
        self.store = RedisStore(self.pool, pretended_ms=lambda: self.now_ms)

    def run(self, awaitable):
        return self._runner.run(_result(awaitable))

    def call(self, *args):
        return self.run(self.pool.call(*args))

    def close(self):
        self._done.set()
        self.run(self._holding)

    async def _hold(self, opened, ready):
        async with opened as pool:
            ready.set_result(pool)
            await self._done.wait()


async def _result(awaitable):
    return await awaitable


class Twins(RuleBasedStateMachine):
    """Whatever callers, owners that die, clocks and plans do: both say the same."""

    bench: Bench
    organisations = count(1)
    asked = Bundle("asked")

    @initialize(
        scale=st.sampled_from(SCALES),
        limits=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(LimitName)), max_size=6, unique=True),
        luck=LUCK,
    )
    def begin(self, scale, limits, luck):
        self.organisation = f"org_{next(self.organisations):022d}"
        self.book = Book()
        self.bench.now_ms = self.latest_ms = NOON
        self.scale = scale
        self.plan = {limit: self._terms(luck) for limit in limits}
        self.made = 0

    @rule(step=STEPS)
    def time_passes_or_steps_back(self, step):
        self._it_is(self.bench.now_ms + step)

    @rule(one=asked, after=st.sampled_from([0, 30_000, MINUTE, 10 * MINUTE, HOUR]), off=st.integers(-1, 1))
    def a_life_is_nearly_or_just_over(self, one, after, off):
        self._it_is(max(one.began_ms + one.order.ttl_ms + after + off, self.bench.now_ms - DAY))

    @rule(name=st.sampled_from([LimitName.TOKENS_PER_DAY, LimitName.TOKENS_PER_MONTH]), off=st.integers(-1, 1))
    def a_period_is_nearly_or_just_over(self, name, off):
        self._it_is(Periods(self.bench.now_ms, UTC).of(name).end_ms + off)

    @rule(
        target=asked,
        crowd=st.integers(1, 5),
        ttl_ms=st.sampled_from([30_000, 30_000, 30_000, 1, 2 * DAY, 0]),
        luck=LUCK,
    )
    def some_ask(self, crowd, ttl_ms, luck):
        periods = Periods(self.bench.now_ms + luck.choice(PERIODS_OFF), UTC)
        return multiple(*(self._ask(ttl_ms, periods, luck) for _ in range(crowd)))

    @rule(one=asked, late_ms=st.integers(-1, 1))
    def one_is_asked_twice_perhaps_late(self, one, late_ms):
        self._both("reserve", replace(one.order, not_after_ms=self.bench.now_ms - late_ms))

    @rule(one=asked, luck=LUCK, model=st.sampled_from(["", *MODELS]))
    def one_is_settled_perhaps_late_or_twice(self, one, luck, model):
        spent, name, by_id = self._spent(luck), one.order.reservation, luck.random() < 0.3
        ended = self.book.settle(name, spent, self.bench.now_ms, model, by_id=by_id)
        assert self.bench.run(self.bench.store.settle(name, spent, model, by_id=by_id)) == ended
        self._look(one.user, one.model)

    @rule(one=asked, ttl_ms=st.sampled_from([1, 500, 30_000, 2 * DAY]), luck=LUCK)
    def one_lives_on(self, one, ttl_ms, luck):
        kept, name, by_id = self._spent(luck), one.order.reservation, luck.random() < 0.3
        renewed = self.book.renew(name, ttl_ms, kept, self.bench.now_ms, by_id=by_id)
        assert self.bench.run(self.bench.store.renew(name, ttl_ms=ttl_ms, kept=kept, by_id=by_id)) == renewed
        self._it_is(self.bench.now_ms + luck.choice([0, 499, 29_999]))
        self._look(one.user, one.model)

    @rule(most=st.sampled_from([1, 3, 100]))
    def a_sweeper_comes(self, most):
        self._sweep(most)
        self._look(USERS[0], MODELS[0])

    @rule(luck=LUCK)
    def a_lost_counter_is_restored(self, luck):
        for place, name in self.plan:
            if KINDS[name][0] is Kind.CALENDAR:
                period, used = Periods(self.bench.now_ms + luck.choice(PERIODS_OFF), UTC).of(name), self._units(luck)
                subject, _ = _subject(place, USERS[0], MODELS[0])
                self.book.seed(subject, name, period, used, self.bench.now_ms)
                self.bench.run(self.bench.store.seed(self.organisation, subject, name, period, used=used))
        self._look(USERS[0], MODELS[0])

    @rule(luck=LUCK)
    def the_plan_changes(self, luck):
        for limit in self.plan:
            if luck.random() < 0.5:
                self.plan[limit] = self._terms(luck)

    @rule()
    def the_server_forgets_its_scripts(self):
        self.bench.call("SCRIPT", "FLUSH")

    def teardown(self):
        """Everybody has died: after all lives are over nobody holds a lease, and nothing is due."""
        for days in (20, 1):
            self._it_is(self.latest_ms + days * DAY)
            while self._sweep(50):
                pass
        for user, model in product(USERS, MODELS):
            order, answer = self._look(user, model)
            levels = zip(order.dimensions, answer.levels, strict=True)
            assert not [one for one, level in levels if one.kind is Kind.LEASES and level.amount]
        assert self._left() == (0, 0, [])

    def _ask(self, ttl_ms, periods, luck):
        user, model = luck.choice(USERS), luck.choice(MODELS)
        order = self._order(user, model, periods, luck.randrange(-6, 6))
        order = replace(
            order,
            cost=self._spent(luck),
            kept=self._spent(luck),
            ttl_ms=ttl_ms,
            leases=luck.random() < 0.8,
            force=luck.random() < 0.15,
            held=luck.random() < 0.5,
            meta=b"own" * luck.randrange(3),
        )
        self._both("reserve", order)
        return Asked(order, user, model, self.bench.now_ms)

    def _look(self, user, model):
        order = self._order(user, model, Periods(self.bench.now_ms, UTC))
        return order, self._both("read", order)

    def _both(self, verb, asked):
        ours = getattr(self.book, verb)(asked, self.bench.now_ms)
        theirs = self.bench.run(getattr(self.bench.store, verb)(asked))
        assert theirs == ours
        denied = [one for one in standings(asked, theirs) if one.denied]
        assert bool(denied) == (theirs.verdict is Verdict.DENIED)
        return theirs

    def _sweep(self, most):
        swept = self.book.sweep(self.bench.now_ms, most)
        assert self.bench.run(self.bench.store.sweep(self.organisation, most=most)) == swept
        return swept

    def _left(self):
        """Records, what is due, and sets of leases; a member that stays keeps the first two keys."""
        keys = f"citadel:limits:{{{self.organisation}}}:"
        records, due = self.bench.call("HLEN", f"{keys}r"), self.bench.call("ZCARD", f"{keys}x")
        return max(0, records - 1), max(0, due - 1), self.bench.call("KEYS", f"{keys}l:*")

    def _it_is(self, now_ms):
        self.bench.now_ms = now_ms
        self.latest_ms = max(self.latest_ms, now_ms)

    def _new_id(self):
        self.made += 1
        digits = hashlib.md5(f"{self.made}".encode(), usedforsecurity=False).hexdigest()
        return f"res_{self.organisation.removeprefix('org_')}_{digits}"

    def _order(self, user, model, periods, without=-1):
        """Of this user and model, with the plan's limits, perhaps without one of them."""
        limits = [limit for place, limit in enumerate(self.plan.items()) if place != without]
        return Order(
            reservation=self._new_id(),
            organisation_id=self.organisation,
            dimensions=tuple(
                _dimension(*_subject(place, user, model), name, terms, periods) for (place, name), terms in limits
            ),
            cost=Spent(1, 1, 1),
        )

    def _terms(self, luck):
        return Terms(*(luck.choice(self.scale.limits) for _ in Terms._fields))

    def _spent(self, luck):
        return Spent(self._units(luck), self._units(luck), self._units(luck))

    def _units(self, luck):
        return luck.choice(self.scale.costs)


def _subject(place, user, model):
    """A subject, and the model that it is for alone."""
    side = f"u:{user}" if place.startswith("u") else "o"
    if place.endswith("m"):
        return f"{side}:m:{model}", model
    return (f"{side}:e:chat" if place.endswith("e") else side), ""


def _dimension(subject, model, name, terms, periods):
    kind, unit = KINDS[name]
    calendar = kind is Kind.CALENDAR
    return Dimension(
        subject=subject,
        name=name,
        limit=terms.limit if unit is Unit.NANO_USD else min(terms.limit, MOST),
        burst=min(terms.burst, MOST) if kind is Kind.RATE else 0,
        period=periods.of(name) if calendar else None,
        extra=terms.extra if calendar else 0,
        lapsed=terms.lapsed if calendar else 0,
        model=model,
    )


def test_no_answer_differs_and_no_lease_is_leaked(open_pool, each_url):
    with asyncio.Runner() as runner:
        bench = Bench(runner, open_pool(each_url))

        class TwinsHere(Twins):
            pass

        TwinsHere.bench = bench
        try:
            run_state_machine_as_test(TwinsHere, settings=SEARCH)
        finally:
            bench.close()
