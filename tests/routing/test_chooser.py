"""Which replica a strategy takes, and what is said when there is none."""

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import StrategyName
from citadel_edge.fleet.gauges import Reading
from citadel_edge.fleet.table import Health, RowState, Verdict
from citadel_edge.routing.ask import Ask
from citadel_edge.routing.candidates import Exclusion
from citadel_edge.routing.chooser import Chooser
from routing.rig import NOW, fleet, half, open_breaker

ADAPTIVE = StrategyName.ADAPTIVE


def chooser(seed=1):
    return Chooser(rng=Random(seed).random)


def pick(table, ask=None, *, by=None, strategy=ADAPTIVE, now=NOW, tried=None, **more):
    return (by or chooser()).choose(
        table.deployments("m"), ask or Ask(), strategy=strategy, now=now, tried=tried or {}, **more
    )


def teach(table, seconds, *, now=NOW, calls=30):
    for row, each in zip(table.rows.values(), seconds, strict=True):
        for step in range(calls):
            row.signals.observe_whole(
                each, tokens_in=0, tokens_out=0, prefilling_tokens=0, load=1, now=now - (calls - step) / 100
            )


@pytest.mark.parametrize("strategy", StrategyName)
def test_every_strategy_spreads_over_equals(strategy):
    table, by = fleet(1, 1, 1, 1), chooser()
    taken = Counter()
    for _ in range(40):
        place = pick(table, by=by, strategy=strategy).deployment
        table.take(place, now=NOW)
        taken[place.row.id] += 1
    assert max(taken.values()) <= 14


@pytest.mark.parametrize("strategy", [ADAPTIVE, StrategyName.LEAST_IN_FLIGHT, StrategyName.ROUND_ROBIN])
def test_weights_count(strategy):
    table, by = fleet(1, 3), chooser()
    teach(table, (0.1, 0.1))
    taken = Counter()
    for _ in range(40):
        place = pick(table, by=by, strategy=strategy).deployment
        table.take(place, now=NOW)
        taken[place.row.id] += 1
    assert 28 <= taken["u1"] <= 32


def test_a_slow_one_gets_little_and_is_tried_again_by_one_call_when_idle_for_long():
    table = fleet(1, 1)
    teach(table, (1.0, 0.1))
    assert pick(table).deployment.row.id == "u1"
    table.rows["u1"].signals.seen_at = NOW + 60.0
    again = pick(table, now=NOW + 60.0).deployment
    assert again.row.id == "u0"
    table.take(again, now=NOW + 60.0)
    assert pick(table, now=NOW + 60.0).deployment.row.id == "u1"


def test_a_row_never_measured_gets_one_call_and_no_flood():
    table, by = fleet(1, 1, 1), chooser()
    teach(table, (0.1, 0.1, 0.1))
    table.rows["u2"].signals = type(table.rows["u2"].signals)()
    taken = Counter()
    for _ in range(12):
        place = pick(table, by=by).deployment
        table.take(place, now=NOW)
        taken[place.row.id] += 1
    assert 1 <= taken["u2"] <= 5


def test_a_frozen_one_loses_its_traffic_within_tens_of_milliseconds():
    table = fleet(1, 1)
    teach(table, (0.1, 0.1))
    frozen, fine = table.deployments("m")
    table.take(frozen, now=NOW, expected_s=0.1)
    for _ in range(3):
        table.take(fine, now=NOW, expected_s=0.1)
    assert pick(table).deployment is frozen
    fine.row.signals.seen_at = fine.row.last_byte_at = NOW + 0.5
    late = pick(table, now=NOW + 0.5)
    assert late.deployment is fine
    assert late.candidates[0].parts()["stall_s"] == pytest.approx(0.4, abs=0.11)


def test_panic_passes_breakers_when_under_half_are_admitted_but_no_operators():
    table = fleet(1, 1, 1)
    a, b, c = table.rows.values()
    for row in (a, b):
        row.breaker.trip("x")
        row.breaker.held = row is a
        row.breaker.retry_at = NOW + 9
    c.in_flight = c.slots
    choice = pick(table)
    assert choice.panic
    assert choice.deployment.row is b
    assert [one.excluded.code if one.excluded else None for one in choice.candidates] == [
        Exclusion.BREAKER,
        None,
        Exclusion.FULL,
    ]
    b.health = Health.UNHEALTHY
    assert pick(table).deployment is None


def test_half_admitted_is_no_panic():
    table = fleet(1, 1)
    open_breaker(table, table.rows["u0"])
    choice = pick(table)
    assert not choice.panic
    assert choice.deployment.row.id == "u1"


def test_waiting_is_worth_it_for_a_place_or_a_time_and_not_for_the_dead():
    table = fleet(1, 1)
    a, b = table.rows.values()
    a.in_flight = a.slots
    b.health = Health.UNHEALTHY
    assert (pick(table).waiting.worth, pick(table).waiting.retry_in_s) == (True, None)
    a.in_flight, a.cooling_until = 0, NOW + 3
    assert pick(table).waiting.retry_in_s == 3
    a.state = RowState.DRAINING
    assert not pick(table).waiting.worth


def test_who_failed_is_asked_again_only_when_allowed_and_alone_and_a_hedge_goes_elsewhere():
    table = fleet(1, 1)
    assert pick(table, tried={"u0": True}).deployment.row.id == "u1"
    assert pick(table, tried={"u0": True, "u1": False}).deployment.row.id == "u0"
    assert pick(table, tried={"u0": False, "u1": False}).deployment is None
    assert pick(table, Ask(hedge_of="u0")).deployment.row.id == "u1"


def rooms(*contexts):
    table = fleet(*[1] * len(contexts))
    for row, context in zip(table.rows.values(), contexts, strict=True):
        if context is not None:
            row.context_tokens["m"] = context
    return table


@pytest.mark.parametrize("strategy", StrategyName)
def test_a_prompt_that_clearly_does_not_fit_is_out_there(strategy):
    choice = pick(rooms(100, None), Ask(context_tokens=201), strategy=strategy)
    assert choice.deployment.row.id == "u1"
    assert choice.candidates[0].excluded.code is Exclusion.CONTEXT
    assert not choice.too_long


def test_an_estimate_that_is_a_little_too_long_keeps_nobody_from_an_engine_that_may_hold_it():
    assert pick(rooms(100), Ask(context_tokens=200)).deployment is not None


def test_of_several_prompts_the_largest_must_fit_and_not_all_together():
    assert pick(rooms(100), Ask(tokens_in=100_000, context_tokens=50)).deployment is not None


def test_too_long_for_all_is_told_from_full():
    table = rooms(100, 100)
    nobody = pick(table, Ask(context_tokens=201))
    assert (nobody.deployment, nobody.too_long, nobody.waiting.worth) == (None, True, False)
    table.rows["u1"].health = Health.UNHEALTHY
    assert not pick(table, Ask(context_tokens=201)).too_long
    assert not pick(fleet()).too_long


def test_what_is_tight_somewhere_goes_where_there_is_room():
    table = rooms(100, 1000)
    ask = Ask(context_tokens=150)
    table.rows["u1"].in_flight = 10
    choice = pick(table, ask)
    assert choice.deployment.row.id == "u1"
    assert choice.candidates[0].excluded.code is Exclusion.CONTEXT
    table.rows["u1"].in_flight = table.rows["u1"].slots
    full = pick(table, ask)
    assert (full.deployment, full.waiting.worth, full.too_long) == (None, True, False)
    table.rows["u1"].state = RowState.DISABLED
    assert pick(table, ask).deployment.row.id == "u0"


@pytest.mark.parametrize("narrow", [1, 149])
def test_among_many_too_a_tight_one_is_not_drawn_while_others_have_room(narrow):
    table = rooms(*[100] * narrow, *[1000] * (150 - narrow))
    for seed in range(20):
        choice = pick(table, Ask(context_tokens=150), by=chooser(seed))
        assert choice.deployment.row.context_tokens["m"] == 1000


def test_a_known_prefix_draws_and_load_outweighs_it():
    table, by = fleet(1, 1), chooser()
    for row in table.rows.values():
        for step in range(100):
            tokens = 100 + step * 10
            row.signals.observe_first_token(
                0.02 + tokens * 1e-4, tokens_in=tokens, prefilling_tokens=0, load=1, now=NOW - 1
            )
    first, other = table.deployments("m")
    ask = Ask(tokens_in=1000, tokens_out=10, stream=True, prefix=tuple(range(100)))
    by.learned(first, ask)
    first.row.turn, other.row.turn = 2, 1
    choice = pick(table, ask, by=by)
    assert choice.deployment is first
    assert choice.new_tokens == 0
    assert choice.candidates[0].parts()["prefix_gain_s"] == pytest.approx(0.1, rel=0.1)
    for _ in range(40):
        table.take(first, now=NOW, tokens_in=500)
    assert pick(table, ask, by=by).deployment is other


def test_a_session_stays_until_its_owner_is_overloaded():
    table, by = fleet(1, 1, 1), chooser()
    ask = Ask(session="s")
    owner = pick(table, ask, by=by, strategy=StrategyName.SESSION).deployment
    assert pick(table, ask, by=by, strategy=StrategyName.SESSION).deployment is owner
    for _ in range(10):
        table.take(owner, now=NOW)
    assert pick(table, ask, by=by, strategy=StrategyName.SESSION).deployment is not owner


def test_among_many_two_are_drawn_and_all_can_be_explained():
    table = fleet(*[1] * 150)
    for row in table.rows.values():
        row.in_flight = 5
    assert len(pick(table).candidates) == 2
    assert len(pick(table, explain=True).candidates) == 150
    for row in list(table.rows.values())[1:]:
        row.health = Health.UNHEALTHY
    assert pick(table).deployment.row.id == "u0"


def test_among_many_a_session_keeps_its_replica_without_a_look_at_all():
    table = fleet(*[1] * 150)
    by, ask = chooser(), Ask(session="s")
    first = pick(table, ask, by=by, strategy=StrategyName.SESSION)
    assert len(first.candidates) == 3
    for explain in (False, True):
        again = pick(table, ask, by=chooser(2), strategy=StrategyName.SESSION, explain=explain)
        assert again.deployment is first.deployment
    first.deployment.row.health = Health.UNHEALTHY
    moved = pick(table, ask, by=by, strategy=StrategyName.SESSION)
    assert moved.deployment is not first.deployment
    assert len(moved.candidates) == 150
    assert pick(table, ask, by=by, strategy=StrategyName.SESSION).deployment is moved.deployment


def test_several_instances_draw_two_and_show_all():
    table = fleet(*[1] * 6)
    choice = pick(table, instances=3)
    assert len(choice.candidates) == 6
    assert sum(one.score is not None for one in choice.candidates) == 2


@pytest.mark.parametrize("count", [6, 60])
def test_several_instances_draw_by_weight(count):
    table, by = fleet(count - 1, *[1] * (count - 1)), chooser()
    taken = Counter()
    for row in table.rows.values():
        row.slots = 1000
    for _ in range(400):
        place = pick(table, by=by, strategy=StrategyName.LEAST_IN_FLIGHT, instances=2).deployment
        table.take(place, now=NOW)
        taken[place.row.id] += 1
    assert 150 <= taken["u0"] <= 260, "half of the weight"
    assert len(taken) > count // 2


@pytest.mark.parametrize("instances", [1, 3])
def test_whose_turn_it_is_is_no_matter_of_luck(instances):
    table, by = fleet(*[1] * 5), chooser()
    order = [
        pick(table, by=by, strategy=StrategyName.ROUND_ROBIN, instances=instances).deployment.row.id for _ in range(10)
    ]
    assert order == ["u0", "u1", "u2", "u3", "u4"] * 2


@pytest.mark.parametrize("instances", [1, 3])
def test_to_ask_whose_turn_it_is_takes_nobodys(instances):
    table, by = fleet(1, 2, 1), chooser()

    def turn(*, explain):
        choice = pick(table, by=by, strategy=StrategyName.ROUND_ROBIN, instances=instances, explain=explain)
        return choice.deployment.row.id

    asked, taken = [], []
    for _ in range(8):
        foreseen = {turn(explain=True) for _ in range(5)}
        assert len(foreseen) == 1
        asked += foreseen
        taken.append(turn(explain=False))
    assert asked == taken
    assert Counter(taken) == {"u0": 2, "u1": 4, "u2": 2}


def test_of_a_replica_that_is_new_the_first_token_is_expected_as_of_its_like():
    table = fleet(1, 1, 1)
    for row in list(table.rows.values())[1:]:
        for step in range(30):
            now = NOW - 1 + step / 100
            row.signals.observe_first_token(0.03, tokens_in=10, prefilling_tokens=0, load=1, now=now)
            row.signals.observe_decode(4.0, tokens=100, load=1, now=now)
            row.in_flight = 3
    choice = pick(table, Ask(tokens_in=10, tokens_out=100, stream=True), strategy=StrategyName.LEAST_IN_FLIGHT)
    assert choice.deployment.row.id == "u0"
    assert choice.predicted_ttft_s == pytest.approx(0.03, rel=0.2)
    assert choice.predicted_total_s == pytest.approx(4.03, rel=0.2)
    assert choice.expected_s(stream=True) == choice.predicted_ttft_s


def test_what_is_unknown_is_expected_to_take_forever():
    choice = pick(fleet(1))
    assert choice.expected_s(stream=True) == math.inf
    table = fleet(1)
    teach(table, (0.2,))
    assert pick(table).expected_s(stream=False) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(
    ("reading", "part"), [(Reading(3, 1), ("load", 4.0)), (Reading(0, 0, 1.0), ("kv_pressure", 2.0))]
)
def test_what_others_do_there_counts(reading, part):
    table = fleet(1, 1)
    teach(table, (0.1, 0.1))
    table.rows["u0"].gauges.read(reading, now=NOW, own_in_flight=0)
    choice = pick(table)
    assert choice.deployment.row.id == "u1"
    assert part in choice.candidates[0].parts().items()
    assert (choice.candidates[1].parts()["load"], choice.candidates[1].parts()["kv_pressure"]) == (0.0, 1.0)


def test_an_unknown_gauge_that_is_stuck_costs_no_fairness():
    table = fleet(1, 1)
    table.give_back(table.take(table.deployments("m")[0], now=NOW), Verdict.OK, now=NOW, rng=half, tokens_out=1)
    assert pick(table).deployment.row.id == "u1"


rows = st.tuples(
    st.sampled_from(RowState), st.sampled_from(Health), st.integers(0, 70), st.floats(900, 1100), st.floats(0.001, 10)
)


@given(st.lists(rows, min_size=1, max_size=8), st.sampled_from(StrategyName), st.integers(1, 3), st.randoms())
def test_what_is_chosen_may_be_asked(states, strategy, instances, rng):
    table = fleet(*[1] * len(states))
    for row, (state, health, in_flight, cooling, seconds) in zip(table.rows.values(), states, strict=True):
        row.state, row.health, row.in_flight, row.cooling_until = state, health, in_flight, cooling
        row.signals.observe_whole(seconds, tokens_in=1, tokens_out=1, prefilling_tokens=0, load=1, now=NOW - 1)
    choice = pick(
        table, Ask(tokens_in=5, session="s"), by=Chooser(rng=rng.random), strategy=strategy, instances=instances
    )
    able = [row for row in table.rows.values() if row.available(NOW)]
    assert (choice.deployment is not None) == bool(able)
    assert choice.deployment is None or choice.deployment.row in able
    assert len(choice.candidates) == len(states)
