"""How long a dead part waits."""

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.embedded.backoff import FIRST_S, HEALTHY_S, LONGEST_S, Backoff

CHANCES = st.floats(0, 1)
SHORT_LIVES = st.floats(0, HEALTHY_S, exclude_max=True)


@given(st.lists(st.tuples(st.floats(0, 1e6), CHANCES), min_size=1))
def test_a_wait_is_never_outside_its_bounds(lives: list[tuple[float, float]]) -> None:
    backoff = Backoff()
    for lived_s, chance in lives:
        assert FIRST_S / 2 <= backoff.after(lived_s, chance) <= LONGEST_S


@given(st.lists(SHORT_LIVES, min_size=2, max_size=5000), CHANCES)
def test_waits_do_not_shrink_while_it_keeps_dying_young(lives: list[float], chance: float) -> None:
    backoff = Backoff()
    waits = [backoff.after(lived_s, chance) for lived_s in lives]
    assert waits == sorted(waits)


@given(st.lists(SHORT_LIVES), st.floats(HEALTHY_S, 1e9), CHANCES)
def test_a_healthy_minute_is_forgiven_all(lives: list[float], healthy_s: float, chance: float) -> None:
    backoff = Backoff()
    for lived_s in lives:
        backoff.after(lived_s, chance)
    assert backoff.after(healthy_s, 1.0) == FIRST_S


def test_it_starts_at_a_tenth_of_a_second_and_doubles_up_to_ten() -> None:
    backoff = Backoff()
    assert [backoff.after(0, 1.0) for _ in range(9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
