"""Top-ups one after the other: each is used once, and none is eaten by what another one that ended was used for."""

import pytest

from citadel_edge.accounts.entitlement import Entitlement, LimitSheet, TopUp
from citadel_edge.limits.claims import Reason
from citadel_edge.limits.gcra import Book
from citadel_edge.limits.redis_store import RedisStore
from citadel_edge.limits.standings import remaining
from citadel_edge.limits.values import Answer, Level, Spent, Verdict
from citadel_edge.limits.verdicts import denial
from citadel_edge.telemetry.clock import Clock
from limiters import claim, instance
from limits.asked import DAY, HOUR, NOON, RPM, TODAY, TOMORROW, TPD, limit, order


class Quota:
    """100 tokens a day, as the scripts and the Book count them: both say the same."""

    def __init__(self, pool):
        self.now_ms, self.period = NOON, TODAY
        self._book, self._store = Book(), RedisStore(pool, pretended_ms=lambda: self.now_ms)

    async def left(self, **top_ups):
        asked = self._order(0, top_ups)
        answer = await self._store.read(asked)
        assert answer == self._book.read(asked, self.now_ms)
        return remaining(asked.dimensions[0], answer.levels[0])

    async def use(self, tokens, **top_ups):
        """The reservation, if it is granted."""
        asked = self._order(tokens, top_ups)
        answer = await self._store.reserve(asked)
        assert answer == self._book.reserve(asked, self.now_ms)
        return asked.reservation if answer.verdict is Verdict.ADMITTED else None

    async def settle(self, reservation, tokens):
        assert await self._store.settle(reservation, Spent(1, tokens))
        self._book.settle(reservation, Spent(1, tokens), self.now_ms)

    def tomorrow(self):
        self.now_ms, self.period = NOON + DAY, TOMORROW

    def _order(self, tokens, top_ups):
        return order(limit(TPD, 100, period=self.period, **top_ups), tokens=tokens, kept=Spent(1, tokens), ttl_ms=HOUR)


@pytest.fixture
def quota(each_pool):
    return Quota(each_pool)


async def test_a_new_one_is_whole_although_one_that_ended_was_used_up_in_the_same_period(quota):
    assert await quota.use(200, extra=100)
    assert await quota.left(lapsed=100) == 0
    assert await quota.left(extra=50, lapsed=100) == 50
    assert await quota.use(30, extra=50, lapsed=100)
    assert await quota.left(extra=50, lapsed=100) == 20
    assert not await quota.use(21, extra=50, lapsed=100)
    quota.tomorrow()
    assert await quota.left(extra=50, lapsed=100) == 120
    assert await quota.use(120, extra=50, lapsed=100)
    assert await quota.left(extra=50, lapsed=100) == 0


async def test_one_that_ends_while_another_counts_takes_along_what_was_used(quota):
    assert await quota.use(170, extra=150)
    assert await quota.left(extra=50, lapsed=100) == 50
    assert await quota.left(extra=100, lapsed=50) == 80


async def test_one_that_ended_unused_leaves_nothing_to_those_after_it(quota):
    assert await quota.use(100, extra=100)
    assert await quota.left(lapsed=100) == 0
    assert await quota.use(50, extra=50, lapsed=100)
    assert await quota.left(extra=50, lapsed=100) == 0
    quota.tomorrow()
    assert await quota.left(extra=50, lapsed=100) == 100
    assert await quota.left(lapsed=150) == 100


async def test_what_is_given_back_of_one_that_ended_is_gone(quota):
    first = await quota.use(200, extra=100)
    assert await quota.use(10, extra=50, lapsed=100)
    await quota.settle(first, 60)
    assert await quota.left(extra=50, lapsed=100) == 80
    assert await quota.use(80, extra=50, lapsed=100)
    assert await quota.left(extra=50, lapsed=100) == 0


async def test_one_of_earlier_periods_that_ends_later_takes_along_what_was_used_then(quota):
    assert await quota.use(160, extra=100)
    quota.tomorrow()
    assert await quota.left(extra=100) == 140
    assert await quota.left(extra=30, lapsed=100) == 130


async def test_a_state_of_before_top_ups_were_told_apart_is_understood(each_pool, quota):
    assert await quota.use(70)
    key = "citadel:limits:{org_0000000000000000000001}:s:u:usr_1"
    state = await each_pool.call("GET", key)
    await each_pool.call("SET", key, state[:160], "KEEPTTL")
    assert await quota.left() == 30


ENDING = limit(TPD, 100, extra=100, lapsing=100)


@pytest.mark.parametrize(
    ("quota_", "level", "tokens", "after"),
    [
        (ENDING, Level(180), 90, TODAY.end_ms - NOON),
        (ENDING, Level(180), 101, None),
        (limit(TPD, 100, extra=100), Level(180), 110, TODAY.end_ms - NOON),
        (limit(TPD, 100, extra=100), Level(180), 121, None),
        (limit(TPD, 100, extra=100), Level(180, 20), 101, None),
        (limit(TPD, 100, extra=150, lapsing=100), Level(220), 130, TODAY.end_ms - NOON),
        (limit(TPD, 100, extra=150, lapsing=100), Level(220), 151, None),
    ],
)
def test_a_denial_says_when_there_is_room_again_or_that_there_never_is(quota_, level, tokens, after):
    decision = denial(order(quota_, limit(RPM, 9), tokens=tokens), Answer(Verdict.DENIED, NOON, (level, Level(0))))
    assert decision.reason is (Reason.TOO_LARGE if after is None else Reason.QUOTA)
    assert decision.retry_after_s == (None if after is None else after / 1000)


async def test_a_request_that_only_a_top_up_that_ends_before_could_have_paid_is_too_large(redis_url):
    soon = TopUp(tokens=100, expires_unix_s=Clock().unix_s() + 60)
    entitled = Entitlement(tier=LimitSheet(values={"tokens_per_month": 100}), top_ups=(soon,))
    async with instance(redis_url) as one:
        assert (await one.reserve(entitled, tokens=90)).allowed
        (quota,) = one.limiter.plan(claim(entitled).who)
        assert (quota.extra, quota.lapsing) == (100, 100)
        denied = await one.reserve(entitled, tokens=120)
        assert (denied.reason, denied.retry_after_s) == (Reason.TOO_LARGE, None)
        assert (await one.reserve(entitled, tokens=110)).allowed
