"""The breaker against a model of it, and the facts that matter by name."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from citadel_edge.fleet.breaker import Breaker, BreakerChange, BreakerPolicy, BreakerState

POLICY = BreakerPolicy()


def middle() -> float:
    return 0.5


def tripped(*, now: float = 0.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(POLICY.failures):
        stamp, _ = breaker.enter(now)
        breaker.fail(stamp, now=now, rng=middle)
    return breaker


def test_five_failures_in_a_row_open_it() -> None:
    breaker = Breaker(POLICY)
    changes = []
    for _ in range(5):
        assert breaker.admits(0.0)
        stamp, entered = breaker.enter(0.0)
        assert entered is None
        changes.append(breaker.fail(stamp, now=0.0, rng=middle))
    assert changes == [None] * 4 + [BreakerChange(BreakerState.CLOSED, BreakerState.OPEN, 3.75)]
    assert not breaker.admits(3.7)


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker(BreakerPolicy(success_rate=0.0))
    for _ in range(20):
        for _ in range(4):
            assert breaker.fail(breaker.enter(0.0)[0], now=0.0, rng=middle) is None
        assert breaker.succeed(breaker.enter(0.0)[0], now=10.0) is None
    assert breaker.state is BreakerState.CLOSED


def test_half_open_admits_exactly_one() -> None:
    breaker = tripped()
    assert breaker.admits(10.0)
    _, change = breaker.enter(10.0)
    assert change == BreakerChange(BreakerState.OPEN, BreakerState.HALF_OPEN)
    assert not breaker.admits(10.0)
    assert not breaker.admits(1e9)
    with pytest.raises(ValueError, match="admits no call"):
        breaker.enter(1e9)


def test_the_probes_success_closes_it_and_forgets_the_trips() -> None:
    breaker = tripped()
    stamp, _ = breaker.enter(10.0)
    assert breaker.succeed(stamp, now=10.0) == BreakerChange(BreakerState.HALF_OPEN, BreakerState.CLOSED)
    assert (breaker.trips, breaker.failures) == (0, 0)


def test_the_probes_failure_opens_it_for_twice_as_long() -> None:
    breaker = tripped()
    stamp, _ = breaker.enter(10.0)
    assert breaker.fail(stamp, now=10.0, rng=middle) == BreakerChange(BreakerState.HALF_OPEN, BreakerState.OPEN, 17.5)


def test_a_late_success_from_before_the_trip_cannot_close_it() -> None:
    breaker = Breaker(POLICY)
    early, _ = breaker.enter(0.0)
    for _ in range(5):
        breaker.fail(breaker.enter(0.0)[0], now=0.0, rng=middle)
    assert breaker.succeed(early, now=10.0) is None
    assert breaker.state is BreakerState.OPEN
    breaker.enter(10.0)
    assert breaker.succeed(early, now=10.0) is None
    assert breaker.fail(early, now=10.0, rng=middle) is None
    assert breaker.state is BreakerState.HALF_OPEN


def test_an_abandoned_probe_frees_the_place_and_its_late_answer_counts_for_nothing() -> None:
    breaker = tripped()
    first, _ = breaker.enter(10.0)
    breaker.abandon(first)
    second, change = breaker.enter(10.0)
    assert change is None
    breaker.abandon(first)
    assert not breaker.admits(10.0)
    assert breaker.succeed(first, now=10.0) is None
    assert breaker.succeed(second, now=10.0) is not None


@pytest.mark.parametrize(
    ("trips", "low", "high"), [(1, 2.5, 5), (2, 5, 10), (6, 80, 160), (7, 150, 300), (999, 150, 300)]
)
def test_the_backoff_doubles_to_its_bound_with_equal_jitter(trips: int, low: float, high: float) -> None:
    assert POLICY.backoff_s(trips, lambda: 0.0) == low
    assert POLICY.backoff_s(trips, lambda: 1.0) == pytest.approx(high)


class BreakerMachine(RuleBasedStateMachine):
    """Random calls that end in any order and at any time, beside the plainest model of what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(BreakerPolicy(success_rate=0.0))
        self.now = 0.0
        self.calls: list[tuple[int, int]] = []  # stamp, epoch: how many changes of state or probes there were
        self.epoch = 0
        self.row = 0  # failures in a row, of this epoch
        self.probe: int | None = None
        self.state = BreakerState.CLOSED

    @rule(seconds=st.floats(0.0, 400.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.admits(self.now))
    @rule()
    def a_call_enters(self) -> None:
        stamp, change = self.breaker.enter(self.now)
        if self.state is not BreakerState.CLOSED:
            assert self.probe is None
            assert (change is not None) == (self.state is BreakerState.OPEN)
            self.epoch += 1
            self.probe = self.epoch
            self.state = BreakerState.HALF_OPEN
        self.calls.append((stamp, self.epoch))

    @precondition(lambda self: self.calls)
    @rule(
        data=st.data(),
        verdict=st.sampled_from(["succeed", "fail", "abandon"]),
        chance=st.floats(0, 1, exclude_max=True),
    )
    def a_call_ends(self, data: st.DataObject, verdict: str, chance: float) -> None:
        stamp, epoch = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before = self.breaker.state
        if verdict == "succeed":
            change = self.breaker.succeed(stamp, now=self.now)
        elif verdict == "fail":
            change = self.breaker.fail(stamp, now=self.now, rng=lambda: chance)
        else:
            self.breaker.abandon(stamp)
            change = None
        self.model(epoch, verdict)
        assert (change is None) == (before is self.breaker.state)

    def model(self, epoch: int, verdict: str) -> None:
        if epoch != self.epoch:
            return
        if verdict == "abandon":
            self.probe = None
        elif verdict == "succeed":
            self.row = 0
            if self.state is BreakerState.HALF_OPEN:
                self.become(BreakerState.CLOSED)
        else:
            self.row += 1
            if self.state is BreakerState.HALF_OPEN or self.row >= POLICY.failures:
                self.become(BreakerState.OPEN)

    def become(self, state: BreakerState) -> None:
        self.state = state
        self.epoch += 1
        self.probe = None
        if state is BreakerState.CLOSED:
            self.row = 0

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        assert self.breaker.state is self.state
        if self.state is BreakerState.HALF_OPEN:
            assert self.breaker.admits(self.now) == (self.probe is None)

    @invariant()
    def an_open_breaker_opens_again_within_its_bound(self) -> None:
        if self.state is BreakerState.OPEN:
            assert self.breaker.retry_at - self.now <= POLICY.max_backoff_s
            assert self.breaker.admits(self.breaker.retry_at)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
