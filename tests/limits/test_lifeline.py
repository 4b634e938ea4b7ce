"""The breaker over Redis, and the server's clock."""

import pytest

from citadel_edge.errors import RedisUnavailable
from citadel_edge.limits.lifeline import COOL_S, LEAST_CALLS, WINDOW_S, Lifeline
from citadel_edge.limits.redis_store import ScriptFailed
from citadel_edge.limits.server_time import ServerTime
from citadel_edge.telemetry.clock import Clock
from limiters import entitlement, instance, until

SLOW = RedisUnavailable("slow")


class Told:
    def __init__(self):
        self.failures, self.alone, self.away, self.back = 0, [], [], []
        self.lifeline = Lifeline(
            on_failed=self.failed,
            on_failed_alone=self.alone.append,
            on_away=self.away.append,
            on_back=self.back.append,
        )

    def failed(self):
        self.failures += 1


def test_half_of_twenty_within_five_seconds_is_too_much():
    told = Told()
    for place in range(LEAST_CALLS // 2):
        told.lifeline.answered(100.0)
        assert told.lifeline.serves
        told.lifeline.failed(100.0 + place / 10, SLOW)
    assert (told.lifeline.serves, told.away, told.failures) == (False, ["slow"], 10)
    assert told.lifeline.cool_until_s == pytest.approx(100.9 + COOL_S)


def test_fewer_calls_or_fewer_failures_are_not():
    few, mostly_good = Told(), Told()
    for _ in range(LEAST_CALLS - 1):
        few.lifeline.failed(100.0, SLOW)
    for _ in range(LEAST_CALLS):
        mostly_good.lifeline.answered(100.0)
        mostly_good.lifeline.answered(100.0)
        mostly_good.lifeline.failed(100.0, SLOW)
    assert few.lifeline.serves
    assert mostly_good.lifeline.serves


def test_what_is_older_than_the_window_does_not_count():
    told = Told()
    for second in range(100, 160):
        told.lifeline.failed(second, SLOW)
    for _ in range(LEAST_CALLS - WINDOW_S):
        assert told.lifeline.serves
        told.lifeline.failed(159.5, SLOW)
    assert not told.lifeline.serves


def test_what_fails_because_of_what_it_is_about_says_nothing_of_others():
    told = Told()
    for _ in range(LEAST_CALLS):
        assert told.lifeline.failed(100.0, ScriptFailed("broken"))
    assert not told.lifeline.failed(100.0, SLOW)
    assert (told.lifeline.serves, told.failures, len(told.alone)) == (True, 1, LEAST_CALLS)


def test_a_return_forgets_the_failures_and_says_how_long_it_was():
    told = Told()
    told.lifeline.lose(10.0, "away")
    told.lifeline.lose(11.0, "still away")
    told.lifeline.regain(15.5)
    told.lifeline.regain(16.0)
    assert (told.away, told.back, told.lifeline.serves) == (["away"], [5.5], True)


async def test_a_slow_server_is_left_alone_and_then_tried_once(own_valkey):
    """It answers, but late: every claim waits in vain until the breaker opens."""
    limits = entitlement(requests_per_minute=1000)
    async with instance(own_valkey.url, deadline_ms=100) as one:
        await one.levels(limits)
        own_valkey.freeze()
        for _ in range(LEAST_CALLS):
            one.parts.lifeline.failed(Clock().monotonic_s(), SLOW)
        assert one.limiter.degraded
        own_valkey.thaw()
        assert (await one.reserve(limits)).degraded
        await until(lambda: not one.limiter.degraded)
        assert one.events("degraded")[-1]["seconds"] >= COOL_S * 0.9
        assert not (await one.reserve(limits)).degraded


class Machine(Clock):
    """A clock that a test turns."""

    __slots__ = ("time_s",)

    def monotonic_s(self):
        return self.time_s

    def unix_s(self):
        return self.time_s + 1000


@pytest.fixture
def machine():
    clock = Machine()
    object.__setattr__(clock, "time_s", 50.0)

    def turn(seconds):
        object.__setattr__(clock, "time_s", clock.time_s + seconds)

    return clock, turn


def test_before_the_first_answer_the_calendar_is_believed(machine):
    clock, _ = machine
    assert ServerTime(clock).now_ms() == 1_050_000


def test_the_server_s_clock_is_never_thought_later_than_it_is(machine):
    clock, turn = machine
    time = ServerTime(clock)
    for round_trip_s in (0.040, 0.004, 0.030):
        asked_s = clock.time_s
        turn(round_trip_s / 2)
        server_ms = int(clock.time_s * 1000) + 7_000_000
        turn(round_trip_s / 2)
        time.learn(asked_s, server_ms)
        assert time.now_ms() <= int(clock.time_s * 1000) + 7_000_000
    assert int(clock.time_s * 1000) + 7_000_000 - time.now_ms() <= 3


def test_a_clock_that_steps_is_learned_anew(machine):
    clock, turn = machine
    time = ServerTime(clock)
    for offset_ms in (7_000_000, 3_000_000, 9_000_000):
        asked_s = clock.time_s
        turn(0.001)
        time.learn(asked_s, int(clock.time_s * 1000) + offset_ms)
        assert abs(time.now_ms() - int(clock.time_s * 1000) - offset_ms) <= 1
