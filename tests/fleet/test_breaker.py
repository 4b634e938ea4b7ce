"""The breaker against a model of it, and the facts that matter by name."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from citadel_edge.fleet.breaker import CAPPED, Breaker, BreakerChange, BreakerPolicy, BreakerState

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


def calls(breaker: Breaker, outcomes: str, *, every_s: float = 0.0, now: float = 0.0) -> list[BreakerChange | None]:
    """Calls one after the other: + succeeds, - fails, . is abandoned."""
    changes = []
    for index, outcome in enumerate(outcomes):
        at = now + index * every_s
        stamp, _ = breaker.enter(at)
        if outcome == "+":
            changes.append(breaker.succeed(stamp, now=at))
        elif outcome == "-":
            changes.append(breaker.fail(stamp, now=at, rng=middle))
        else:
            breaker.abandon(stamp)
    return changes


@pytest.mark.parametrize(
    ("outcomes", "every_s", "state"),
    [
        ("+++--", 0.0, BreakerState.OPEN),  # 60 % of five
        ("++++-", 0.0, BreakerState.CLOSED),  # 80 % of five is enough
        ("+++++++-+-", 0.0, BreakerState.CLOSED),  # 80 % of ten
        ("+++++++--", 0.0, BreakerState.OPEN),  # 78 % of nine
        ("+--", 0.0, BreakerState.CLOSED),  # too few to say
        ("+--+", 1.0, BreakerState.CLOSED),
        ("..........--", 0.0, BreakerState.CLOSED),  # calls without a verdict are none
        ("+-+-+-+-", 20.0, BreakerState.CLOSED),  # never five within thirty seconds
        ("--" + "+" * 40 + "-", 1.0, BreakerState.CLOSED),  # the first two are long past
    ],
)
def test_a_low_rate_of_success_of_late_opens_it(outcomes: str, every_s: float, state: BreakerState) -> None:
    breaker = Breaker(POLICY)
    calls(breaker, outcomes, every_s=every_s, now=1000.0)
    assert breaker.state is state


def test_what_was_before_a_trip_is_forgotten_when_it_closes() -> None:
    breaker = Breaker(POLICY)
    calls(breaker, "+++--")
    calls(breaker, "+", now=10.0)
    assert breaker.state is BreakerState.CLOSED
    calls(breaker, "++-+", now=10.0)
    assert breaker.state is BreakerState.CLOSED


def test_too_many_open_keep_it_closed_and_that_is_said_once() -> None:
    breaker = Breaker(POLICY)
    said = [breaker.fail(breaker.enter(0.0)[0], now=0.0, rng=middle, may_trip=lambda: False) for _ in range(8)]
    assert said == [None] * 4 + [CAPPED] + [None] * 3
    assert (breaker.state, breaker.admits(0.0)) == (BreakerState.CLOSED, True)
    change = breaker.fail(breaker.enter(0.0)[0], now=0.0, rng=middle, may_trip=lambda: True)
    assert change is not None
    assert change.new is BreakerState.OPEN


def test_a_success_lets_it_be_said_again() -> None:
    breaker = Breaker(BreakerPolicy(success_rate=0.0))
    for _ in range(2):
        said = [breaker.fail(breaker.enter(0.0)[0], now=0.0, rng=middle, may_trip=lambda: False) for _ in range(6)]
        assert said.count(CAPPED) == 1
        breaker.succeed(breaker.enter(0.0)[0], now=0.0)


def test_an_operators_trip_holds_until_the_reset() -> None:
    breaker = Breaker(POLICY)
    late, _ = breaker.enter(0.0)
    assert breaker.trip("ann") == BreakerChange(BreakerState.CLOSED, BreakerState.OPEN, None)
    assert not breaker.admits(1e9)
    breaker.hurry(1e9)
    assert not breaker.admits(1e9)
    assert breaker.succeed(late, now=0.0) is None
    with pytest.raises(ValueError, match="admits no call"):
        breaker.enter(1e9, panic=True)
    assert breaker.reset("bob") == BreakerChange(BreakerState.OPEN, BreakerState.CLOSED)
    assert (breaker.admits(0.0), breaker.source) == (True, "bob")
    assert breaker.reset("bob") is None


def test_an_operator_may_hold_one_that_is_open_already() -> None:
    breaker = tripped()
    assert breaker.trip("ann") == BreakerChange(BreakerState.OPEN, BreakerState.OPEN, None)
    assert not breaker.admits(1e9)
    assert breaker.trip("ann") is None


def test_a_panic_goes_past_it_and_a_success_closes_it() -> None:
    breaker = tripped()
    first, _ = breaker.enter(0.0, panic=True)
    second, change = breaker.enter(0.0, panic=True)
    assert change is None
    trips, retry_at = breaker.trips, breaker.retry_at
    assert breaker.fail(first, now=0.0, rng=middle) is None
    assert (breaker.state, breaker.trips, breaker.retry_at) == (BreakerState.OPEN, trips, retry_at)
    assert breaker.succeed(second, now=0.0) == BreakerChange(BreakerState.OPEN, BreakerState.CLOSED)


def test_a_panics_call_is_no_probe() -> None:
    breaker = tripped()
    probe, _ = breaker.enter(10.0)
    beside, _ = breaker.enter(10.0, panic=True)
    breaker.abandon(beside)
    assert not breaker.admits(10.0)
    assert breaker.fail(beside, now=10.0, rng=middle) is None
    assert breaker.succeed(probe, now=10.0) is not None


def test_a_panics_late_success_counts_for_nothing() -> None:
    breaker = tripped()
    late, _ = breaker.enter(0.0, panic=True)
    breaker.fail(breaker.enter(10.0)[0], now=10.0, rng=middle)
    assert breaker.succeed(late, now=10.0) is None
    assert breaker.state is BreakerState.OPEN


def test_an_upstream_that_answers_again_is_probed_at_once() -> None:
    breaker = tripped()
    assert not breaker.admits(1.0)
    breaker.hurry(1.0)
    assert breaker.admits(1.0)
    closed = Breaker(POLICY)
    closed.hurry(1.0)
    assert closed.state is BreakerState.CLOSED


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


def test_a_first_token_closes_it_and_the_call_goes_on_as_one_of_the_closed_state() -> None:
    breaker = tripped()
    stamp, _ = breaker.enter(5.0)
    after, change = breaker.answers(stamp)
    assert change == BreakerChange(BreakerState.HALF_OPEN, BreakerState.CLOSED)
    assert breaker.answers(after) == (after, None)
    assert breaker.fail(stamp, now=6.0, rng=middle) is None
    assert breaker.failures == 0
    assert breaker.fail(after, now=6.0, rng=middle) is None
    assert breaker.failures == 1
    for _ in range(3):
        breaker.fail(breaker.enter(7.0)[0], now=7.0, rng=middle)
    again = breaker.fail(breaker.enter(7.0)[0], now=7.0, rng=middle)
    assert again is not None
    assert again.new is BreakerState.OPEN


def test_an_upstream_that_only_ever_begins_backs_off_longer_each_time() -> None:
    breaker = tripped()
    waits = []
    now = 0.0
    for _ in range(3):
        waits.append(breaker.retry_at - now)
        now = breaker.retry_at
        stamp, _ = breaker.answers(breaker.enter(now)[0])
        breaker.fail(stamp, now=now, rng=middle)
        for _ in range(4):
            breaker.fail(breaker.enter(now)[0], now=now, rng=middle)
    assert waits == [3.75, 7.5, 15.0]
    stamp, _ = breaker.answers(breaker.enter(breaker.retry_at)[0])
    breaker.succeed(stamp, now=now)
    assert breaker.trips == 0


def test_a_first_token_from_before_the_trip_or_under_an_operators_hand_says_nothing() -> None:
    breaker = Breaker(POLICY)
    early, _ = breaker.enter(0.0)
    assert breaker.answers(early) == (early, None)
    for _ in range(5):
        breaker.fail(breaker.enter(0.0)[0], now=0.0, rng=middle)
    assert breaker.answers(early) == (early, None)
    probe, _ = breaker.enter(9.0)
    breaker.trip("ann")
    assert breaker.answers(probe) == (probe, None)
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("trips", "low", "high"), [(1, 2.5, 5), (2, 5, 10), (6, 80, 160), (7, 150, 300), (999, 150, 300)]
)
def test_the_backoff_doubles_to_its_bound_with_equal_jitter(trips: int, low: float, high: float) -> None:
    assert POLICY.backoff_s(trips, lambda: 0.0) == low
    assert POLICY.backoff_s(trips, lambda: 1.0) == pytest.approx(high)


class Model:
    """The plainest words for what a breaker must do: every call of a state is kept, nothing is counted ahead."""

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.epoch = 0  # changes of state, and probes
        self.row = 0
        self.seen: list[tuple[float, bool]] = []
        self.probe: int | None = None
        self.held = False

    def become(self, state: BreakerState) -> None:
        self.state, self.probe = state, None
        self.epoch += 1
        if state is BreakerState.CLOSED:
            self.row, self.seen = 0, []

    def ends(self, epoch: int, verdict: str, now: float, *, panic: bool, may_trip: bool) -> None:
        if epoch != self.epoch or self.held:
            if epoch == self.epoch and verdict == "abandon" and not panic:
                self.probe = None
            return
        if verdict == "succeed":
            self.row = 0
            self.seen.append((now, True))
            if self.state is not BreakerState.CLOSED:
                self.become(BreakerState.CLOSED)
        elif panic:
            return
        elif verdict == "abandon":
            self.probe = None
        elif self.state is BreakerState.HALF_OPEN:
            self.become(BreakerState.OPEN)
        else:
            self.row += 1
            self.seen.append((now, False))
            if may_trip and self.bad(now):
                self.become(BreakerState.OPEN)

    def bad(self, now: float) -> bool:
        """The window counts whole slices of three seconds, as many as make thirty."""
        late = [good for at, good in self.seen if at // 3.0 > now // 3.0 - 10]
        return self.row >= 5 or (len(late) >= 5 and sum(late) < 0.8 * len(late))


class BreakerMachine(RuleBasedStateMachine):
    """Random calls that end in any order and at any time, operators and panics, beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(POLICY)
        self.model = Model()
        self.now = 0.0
        self.calls: list[tuple[int, int, bool]] = []  # stamp, epoch, by panic

    @rule(seconds=st.one_of(st.floats(0.0, 10.0), st.floats(0.0, 400.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.admits(self.now))
    @rule(number=st.integers(1, 4))
    def calls_enter(self, number: int) -> None:
        for _ in range(number):
            if not self.breaker.admits(self.now):
                return
            stamp, change = self.breaker.enter(self.now)
            if self.model.state is not BreakerState.CLOSED:
                assert self.model.probe is None
                assert (change is not None) == (self.model.state is BreakerState.OPEN)
                self.model.epoch += 1
                self.model.probe = self.model.epoch
                self.model.state = BreakerState.HALF_OPEN
            self.calls.append((stamp, self.model.epoch, False))

    @precondition(lambda self: not self.breaker.admits(self.now) and not self.breaker.held)
    @rule()
    def a_call_enters_in_panic(self) -> None:
        stamp, change = self.breaker.enter(self.now, panic=True)
        assert change is None
        self.calls.append((stamp, self.model.epoch, True))

    @precondition(lambda self: self.calls)
    @rule(
        data=st.data(),
        verdict=st.sampled_from(["succeed", "fail", "fail", "abandon"]),
        chance=st.floats(0, 1, exclude_max=True),
        may_trip=st.booleans(),
    )
    def a_call_ends(self, data: st.DataObject, verdict: str, chance: float, *, may_trip: bool) -> None:
        stamp, epoch, panic = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before = self.breaker.state
        change = None
        if verdict == "succeed":
            change = self.breaker.succeed(stamp, now=self.now)
        elif verdict == "fail":
            change = self.breaker.fail(stamp, now=self.now, rng=lambda: chance, may_trip=lambda: may_trip)
        else:
            self.breaker.abandon(stamp)
        self.model.ends(epoch, verdict, self.now, panic=panic, may_trip=may_trip)
        assert (change is None or change.capped) == (before is self.breaker.state)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def a_first_token_comes(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.calls) - 1))
        stamp, epoch, _ = self.calls[at]
        counts = epoch == self.model.epoch and not self.model.held and self.model.state is not BreakerState.CLOSED
        stamp, change = self.breaker.answers(stamp)
        assert (change is not None) == counts
        if counts:
            self.model.become(BreakerState.CLOSED)
            self.calls[at] = stamp, self.model.epoch, False

    @rule()
    def an_operator_trips_it(self) -> None:
        change = self.breaker.trip("ann")
        assert (change is None) == self.model.held
        if not self.model.held:
            self.model.become(BreakerState.OPEN)
            self.model.held = True

    @rule()
    def an_operator_resets_it(self) -> None:
        change = self.breaker.reset("ann")
        assert (change is None) == (self.model.state is BreakerState.CLOSED)
        if self.model.state is not BreakerState.CLOSED:
            self.model.become(BreakerState.CLOSED)
        self.model.held = False

    @rule()
    def the_upstream_answers_again(self) -> None:
        self.breaker.hurry(self.now)

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        assert self.breaker.state is self.model.state
        assert self.breaker.held is self.model.held
        if self.model.held:
            assert not self.breaker.admits(self.now + 1e9)
        elif self.model.state is BreakerState.HALF_OPEN:
            assert self.breaker.admits(self.now) == (self.model.probe is None)

    @invariant()
    def an_open_breaker_asks_again_within_its_bound(self) -> None:
        if self.model.state is BreakerState.OPEN and not self.model.held:
            assert self.breaker.retry_at - self.now <= POLICY.max_backoff_s
            assert self.breaker.admits(max(self.now, self.breaker.retry_at))


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
