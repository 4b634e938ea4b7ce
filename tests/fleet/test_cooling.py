"""A replica that says that it is full: left alone, tried by one, and never for good."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.fleet.cooling import LONGEST_ASKED_S, LONGEST_GROWN_S, TRIAL_S
from citadel_edge.fleet.table import Row, Table, Ticket, Verdict
from fleet.rig import Rig, make_config, make_rig, place

A = ("a", "http://127.0.0.1:1001")


class Fleet:
    """One row and its calls."""

    def __init__(self) -> None:
        self.table = Table(make_config(A))
        (self.row,) = self.table.rows.values()
        self.table.probe_succeeded(self.row, "ok")

    def take(self, now: float) -> Ticket:
        return self.table.take(self.table.deployments("m")[0], now=now)

    def end(self, ticket: Ticket, verdict: Verdict, now: float, cooldown_s: float = 0.0) -> None:
        self.table.give_back(ticket, verdict, now=now, rng=lambda: 0.5, cooldown_s=cooldown_s)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def row(fleet: Fleet) -> Row:
    return fleet.row


@pytest.fixture
def trial(fleet: Fleet) -> Ticket:
    """The first call after a cooldown of a second, at 1.0."""
    fleet.end(fleet.take(0.0), Verdict.BUSY, 0.0, cooldown_s=1.0)
    return fleet.take(1.0)


def test_after_a_cooldown_one_call_tries_alone(row: Row, trial: Ticket) -> None:
    assert row.trial is trial
    assert row.full(1.0)
    assert row.full(1.5)


def test_the_first_token_of_the_trial_lets_all_in(fleet: Fleet, row: Row, trial: Ticket) -> None:
    fleet.table.first_token(trial, now=1.2)
    assert not row.full(1.2)
    fleet.take(1.2)
    fleet.take(1.2)
    assert not row.full(1.2)


def test_a_whole_answer_of_the_trial_does_so_as_well(fleet: Fleet, row: Row, trial: Ticket) -> None:
    fleet.end(trial, Verdict.OK, 1.2)
    assert not row.full(1.2)
    fleet.take(1.2)
    assert not row.full(1.2)


@pytest.mark.parametrize("verdict", [Verdict.NONE, Verdict.FAULT])
def test_a_trial_that_ends_without_a_word_is_followed_by_another(
    fleet: Fleet, row: Row, trial: Ticket, verdict: Verdict
) -> None:
    fleet.end(trial, verdict, 1.1)
    assert not row.full(1.1)
    assert row.trial is None
    assert fleet.take(1.1) is row.trial
    assert row.full(1.1)


def test_a_trial_that_is_silent_was_taken_in(fleet: Fleet, row: Row, trial: Ticket) -> None:
    assert not row.full(1.0 + TRIAL_S)
    fleet.take(1.0 + TRIAL_S)
    assert not row.full(1.0 + TRIAL_S)
    assert row.trial is trial


def test_a_late_refusal_of_an_older_call_is_not_undone_by_the_trial(fleet: Fleet, row: Row) -> None:
    older = fleet.take(0.0)
    fleet.end(fleet.take(0.0), Verdict.BUSY, 0.0, cooldown_s=1.0)
    trial = fleet.take(1.0)
    fleet.end(older, Verdict.BUSY, 1.1, cooldown_s=5.0)
    fleet.end(trial, Verdict.OK, 1.2)
    assert row.full(6.0)
    assert not row.full(6.1)
    assert fleet.take(6.1) is row.trial


def test_each_refusal_without_an_answer_between_doubles_the_cooldown(fleet: Fleet, row: Row) -> None:
    now, seen = 0.0, []
    for _ in range(9):
        fleet.end(fleet.take(now), Verdict.BUSY, now, cooldown_s=0.1)
        seen.append(row.cooling_until - now)
        now = row.cooling_until
    assert seen == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_GROWN_S, LONGEST_GROWN_S])
    fleet.end(fleet.take(now), Verdict.BUSY, now, cooldown_s=30.0)
    assert row.cooling_until == now + 30.0  # never less than it asks


def test_any_call_that_ends_well_begins_the_doubling_anew(fleet: Fleet, row: Row) -> None:
    running = fleet.take(0.0)
    fleet.end(fleet.take(0.0), Verdict.BUSY, 0.0, cooldown_s=4.0)
    fleet.end(running, Verdict.OK, 3.0)
    assert row.full(3.9)  # it asked for four
    fleet.end(fleet.take(4.0), Verdict.BUSY, 4.0, cooldown_s=0.5)
    assert row.cooling_until == 4.5


def test_refusals_of_calls_that_went_in_together_count_as_one(fleet: Fleet, row: Row) -> None:
    together = [fleet.take(0.0) for _ in range(50)]
    for ticket in together:
        fleet.end(ticket, Verdict.BUSY, 0.5, cooldown_s=1.0)
    assert row.cooling_until == 1.5


async def test_the_end_of_a_trial_is_told_to_who_waits() -> None:
    rig: Rig = make_rig(make_config(A))
    told: list[bool] = []
    row = rig.fleet.table.rows["a"]
    rig.fleet.probe_succeeded(row, "ok")
    rig.fleet.give_back(rig.fleet.take(place(rig, "a")), Verdict.BUSY)
    trial = rig.fleet.take(place(rig, "a"))
    rig.fleet.watch_capacity(lambda: told.append(row.full(rig.clock.monotonic_s())))
    assert row.full(rig.clock.monotonic_s())
    rig.fleet.first_token(trial)
    assert told == [False]


steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "token", *Verdict]), st.floats(0, 3), st.integers(0, 5), st.floats(0, 1e3, width=16)
    ),
    max_size=80,
)


@given(steps)
def test_whatever_happens_one_tries_and_nothing_stays_shut(script: list[tuple[str, float, int, float]]) -> None:
    fleet, now = Fleet(), 1.0
    row, calls = fleet.row, list[Ticket]()
    for what, wait_s, which, asked_s in script:
        now += wait_s
        if what == "take":
            if row.full(now):
                continue
            doubted = row.doubted and row.trial is None
            calls.append(fleet.take(now))
            assert (row.trial is calls[-1] and row.full(now)) is doubted
        elif calls:
            ticket = calls[which % len(calls)]
            if what == "token":
                fleet.table.first_token(ticket, now=now)
            else:
                calls.remove(ticket)
                fleet.end(ticket, Verdict(what), now, cooldown_s=asked_s)
                if what == Verdict.BUSY:
                    assert row.cooling_until >= now + min(asked_s, LONGEST_ASKED_S)
        assert row.cooling_until <= now + LONGEST_ASKED_S
        assert row.trial is None or (row.trial.open and row.doubted)
    assert not row.full(now + LONGEST_ASKED_S) or row.in_flight >= row.slots
