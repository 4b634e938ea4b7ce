"""Wishes."""

import pytest

from citadel_edge.config.shape import Objective
from citadel_edge.errors import Code, RequestError
from citadel_edge.routing.objective import AUTO_NAMES, WEIGHTS, is_auto, objective_of, parse_header


@pytest.mark.parametrize("value", ["balanced", "cost", "latency", "quality", " Quality ", "COST"])
def test_the_header_names_an_objective(value: str) -> None:
    assert parse_header(value) is Objective(value.strip().lower())


@pytest.mark.parametrize("value", [None, "", "  "])
def test_no_header_is_no_wish(value: str | None) -> None:
    assert parse_header(value) is None


@pytest.mark.parametrize("value", ["cheap", "quality,cost", "\x1b[31m", "x" * 9000])
def test_a_wrong_header_is_refused_with_the_right_ones(value: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_header(value)
    assert caught.value.code is Code.INVALID_REQUEST
    assert all(objective in caught.value.message for objective in Objective)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 250


def test_the_name_says_it_before_the_header_and_the_header_before_the_configuration() -> None:
    assert objective_of("auto", None, Objective.COST) is Objective.COST
    assert objective_of("auto", Objective.LATENCY, Objective.COST) is Objective.LATENCY
    assert objective_of("auto:best", Objective.COST, Objective.COST) is Objective.QUALITY
    assert objective_of("auto:cheap", None, Objective.QUALITY) is Objective.COST
    assert objective_of("auto:fast", None, Objective.QUALITY) is Objective.LATENCY


def test_auto_names_are_four_and_every_objective_has_weights() -> None:
    assert [name for name in (*AUTO_NAMES, "auto:", "AUTO", "automatic") if is_auto(name)] == list(AUTO_NAMES)
    assert set(WEIGHTS) == set(Objective)
