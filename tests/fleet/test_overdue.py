"""The most overdue call, against the plainest way to find it."""

import math
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.fleet.overdue import Overdue


@dataclass(eq=False)
class Call:
    due: float
    open: bool = True
    first_token_at: float | None = None


def test_none_is_overdue_when_none_is_there() -> None:
    assert Overdue().since() == math.inf


@given(steps=st.lists(st.tuples(st.sampled_from(["add", "token", "end", "look"]), st.floats(0, 100), st.integers(0))))
def test_the_first_that_still_owes_is_named(steps: list[tuple[str, float, int]]) -> None:
    overdue = Overdue()
    calls: list[Call] = []
    for what, due, pick in steps:
        if what == "add":
            calls.append(Call(due))
            overdue.add(calls[-1], due)
        elif calls and what == "token":
            calls[pick % len(calls)].first_token_at = 1.0
        elif calls and what == "end":
            calls[pick % len(calls)].open = False
        owing = [call.due for call in calls if call.open and call.first_token_at is None]
        assert overdue.since() == min(owing, default=math.inf)


def test_it_holds_little_more_than_what_is_owed() -> None:
    overdue = Overdue()
    stuck = Call(0.0)
    overdue.add(stuck, 0.0)
    for index in range(10_000):
        call = Call(1.0 + index)
        overdue.add(call, call.due)
        call.open = False
    assert len(overdue._calls) < 100
    assert overdue.since() == 0.0
