"""Who may take a request, and who takes it."""

from copy import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import StrategyName
from citadel_edge.fleet.table import Health, RowState, Verdict
from citadel_edge.routing.ask import Ask
from citadel_edge.routing.candidates import Exclusion, obstacle
from citadel_edge.routing.chooser import Choice, Chooser
from routing.rig import NOW, fleet, half, open_breaker, place


def choose(deployments, *, now, tried) -> Choice:
    chooser = Chooser(rng=half)
    return chooser.choose(deployments, Ask(), strategy=StrategyName.LEAST_IN_FLIGHT, now=now, tried=tried)


def test_each_obstacle_is_named() -> None:
    table = fleet(1, 1, 1, 1, 1, 1)
    free, draining, disabled, sick, full, broken = table.rows.values()
    draining.state = RowState.DRAINING
    disabled.state = RowState.DISABLED
    table.probe_failed(sick, "connection refused", at_once=True)
    table.give_back(table.take(place(table, full), now=NOW), Verdict.BUSY, now=NOW, rng=half, cooldown_s=7)
    open_breaker(table, broken)
    found = {one.row.id: obstacle(one, NOW) for one in table.deployments("m")}
    assert found.pop(free.id) is None
    assert [excluded and excluded.code for excluded in found.values()] == [
        Exclusion.DRAINING,
        Exclusion.DISABLED,
        Exclusion.UNHEALTHY,
        Exclusion.COOLING,
        Exclusion.BREAKER,
    ]
    assert "connection refused" in str(found[sick.id])
    assert found[full.id].retry_in_s == 7  # type: ignore[union-attr]
    assert found[broken.id].retry_in_s == 3.75  # type: ignore[union-attr]
    assert obstacle(place(table, full), NOW + 7) is None


def test_the_least_in_flight_for_its_weight_is_chosen() -> None:
    table = fleet(1, 2)
    taken = []
    for _ in range(9):
        deployment = choose(table.deployments("m"), now=NOW, tried={}).deployment
        assert deployment is not None
        table.take(deployment, now=NOW)
        taken.append(deployment.row.id)
    assert (taken.count("u0"), taken.count("u1")) == (3, 6)


def test_equals_take_turns() -> None:
    table = fleet(1, 1, 1)
    order = []
    for _ in range(6):
        deployment = choose(table.deployments("m"), now=NOW, tried={}).deployment
        assert deployment is not None
        table.give_back(table.take(deployment, now=NOW), Verdict.OK, now=NOW, rng=half)
        order.append(deployment.row.id)
    assert order == ["u0", "u1", "u2"] * 2


def test_a_replica_that_failed_is_asked_again_only_when_allowed_and_alone() -> None:
    table = fleet(1, 1)
    deployments = table.deployments("m")
    first = choose(deployments, now=NOW, tried={"u0": True})
    assert first.deployment is deployments[1]
    assert first.candidates[0].excluded is not None
    assert first.candidates[0].excluded.code is Exclusion.TRIED
    assert choose(deployments, now=NOW, tried={"u0": True, "u1": False}).deployment is deployments[0]
    assert choose(deployments, now=NOW, tried={"u0": False, "u1": False}).deployment is None
    table.rows["u0"].health = Health.UNHEALTHY
    assert choose(deployments, now=NOW, tried={"u0": True, "u1": False}).deployment is None


def test_a_model_without_replicas_has_no_choice() -> None:
    assert choose((), now=NOW, tried={}).deployment is None
    assert fleet(1).deployments("other") == ()


states = st.tuples(st.sampled_from(RowState), st.sampled_from(Health), st.integers(0, 5), st.floats(900, 1100))


@given(rows=st.lists(states, min_size=1, max_size=8), tried=st.sets(st.integers(0, 7)))
def test_what_is_chosen_is_available_and_least_loaded(
    rows: list[tuple[RowState, Health, int, float]], tried: set[int]
) -> None:
    table = fleet(*[1] * len(rows))
    for row, (state, health, in_flight, cooling) in zip(table.rows.values(), rows, strict=True):
        row.state, row.health, row.in_flight, row.cooling_until = state, health, in_flight, cooling
    choice = choose(table.deployments("m"), now=NOW, tried={f"u{index}": False for index in tried})
    usable = [row for row in table.rows.values() if row.available(NOW) and int(row.id[1:]) not in tried]
    assert {seen.upstream for seen in choice.candidates if seen.excluded is None} == {row.id for row in usable}
    if choice.deployment is None:
        assert not usable
    else:
        assert choice.deployment.row in usable
        assert choice.deployment.row.in_flight == min(row.in_flight for row in usable)


@pytest.mark.parametrize("weight", [0.01, 1.0, 100.0])
def test_a_single_replica_is_chosen_whatever_its_weight(weight: float) -> None:
    table = fleet(weight)
    assert choose(table.deployments("m"), now=NOW, tried={}).deployment is not None


def test_candidates_keep_what_was_seen_after_the_rows_moved_on() -> None:
    table = fleet(1)
    choice = choose(table.deployments("m"), now=NOW, tried={})
    before = copy(choice.candidates[0])
    table.take(place(table, table.rows["u0"]), now=NOW)
    assert choice.candidates[0] == before
