"""What `auto` is worth, on the labelled prompts."""

from benchmarks import auto_models
from citadel_edge.config.shape import Objective


def test_balanced_is_right_nine_times_of_ten_for_less_than_half_of_the_best_models_cost() -> None:
    cases = auto_models.cases()
    choose = auto_models.choose(Objective.BALANCED)
    cost = sum(auto_models.cost(case, choose(case)) for case in cases)
    best = sum(auto_models.cost(case, auto_models.HOUSE[-1]) for case in cases)
    assert len(cases) >= 200
    assert auto_models.share(cases, lambda case: auto_models.right(case, choose(case))) >= 0.9
    assert cost < best / 2


def test_whatever_the_objective_the_choice_can_do_it() -> None:
    for objective in Objective:
        choose = auto_models.choose(objective)
        assert all(choose(case) in auto_models.able(case) for case in auto_models.cases())
