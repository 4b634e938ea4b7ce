"""The table: what taking, giving back, probing and reloading do to the rows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import Engine, Secret
from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.fleet.table import Deployment, Health, Row, RowState, Table, Ticket, Verdict
from fleet.rig import make_config

A, B = ("a", "http://127.0.0.1:1001"), ("b", "http://127.0.0.1:1002")


def half() -> float:
    return 0.5


def place(table: Table, row: Row) -> Deployment:
    return next(one for one in table.deployments("m") if one.row is row)


def healthy(table: Table) -> list[Row]:
    for row in table.rows.values():
        table.probe_succeeded(row, "ok")
    return list(table.rows.values())


def test_a_row_is_unknown_until_its_first_probe_and_then_one_success_is_enough() -> None:
    table = Table(make_config(A))
    (row,) = table.rows.values()
    assert (row.health, row.available(0.0)) == (Health.UNKNOWN, False)
    change = table.probe_succeeded(row, "ok")
    assert change is not None
    assert (change.old, change.new) == (Health.UNKNOWN, Health.HEALTHY)
    assert row.available(0.0)
    assert table.probe_succeeded(row, "ok") is None


def test_the_second_failed_probe_in_a_row_makes_it_unhealthy() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    assert table.probe_failed(row, "slow") is None
    assert table.probe_succeeded(row, "ok") is None
    assert table.probe_failed(row, "slow") is None
    change = table.probe_failed(row, "slow again")
    assert change is not None
    assert (change.new, row.health_detail) == (Health.UNHEALTHY, "slow again")
    assert table.probe_failed(row, "still") is None


def test_nobody_listening_makes_it_unhealthy_at_once() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    assert table.probe_failed(row, "refused", at_once=True) is not None
    assert not row.available(0.0)


def test_load_counts_from_taking_to_giving_back_once() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    first, second = table.take(place(table, row), now=0.0), table.take(place(table, row), now=0.0)
    assert row.in_flight == 2
    for _ in range(3):
        table.give_back(first, Verdict.FAULT, now=0.0, rng=half)
    assert (row.in_flight, row.breaker.failures) == (1, 1)
    table.give_back(second, Verdict.OK, now=5.0, rng=half)
    assert (row.in_flight, row.breaker.failures, row.answered_at) == (0, 0, 5.0)


def test_busy_cools_and_a_shorter_cooldown_does_not_cut_a_longer_one() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    table.give_back(table.take(place(table, row), now=0.0), Verdict.BUSY, now=0.0, rng=half, cooldown_s=10)
    table.give_back(table.take(place(table, row), now=1.0), Verdict.BUSY, now=1.0, rng=half, cooldown_s=1)
    assert not row.available(9.9)
    assert row.available(10.0)
    assert row.breaker.failures == 0


def test_rows_that_stay_keep_their_state_over_a_reload() -> None:
    table = Table(make_config(A, B))
    row, _ = healthy(table)
    row.state = RowState.DRAINING
    ticket = table.take(place(table, row), now=0.0)
    config = make_config(A, B)
    changed = replace(
        config, upstreams=(replace(config.upstreams[0], slots=3, api_key=Secret("new")), config.upstreams[1])
    )
    table.replace(changed)
    assert table.rows["a"] is row
    assert (row.slots, row.state, row.health, row.in_flight) == (3, RowState.DRAINING, Health.HEALTHY, 1)
    assert row.api_key is not None
    assert row.api_key.get_secret_value() == "new"
    table.give_back(ticket, Verdict.OK, now=0.0, rng=half)


def test_rows_that_go_finish_what_they_have() -> None:
    table = Table(make_config(A, B))
    gone, stays = healthy(table)
    ticket = table.take(place(table, gone), now=0.0)
    table.replace(make_config(B))
    assert list(table.rows.values()) == [stays]
    assert not table.holds(gone)
    assert table.leaving == [gone]
    assert not gone.available(0.0)
    assert [deployment.row for deployment in table.deployments("m")] == [stays]
    table.give_back(ticket, Verdict.OK, now=0.0, rng=half)
    assert table.leaving == []
    assert list(table.everywhere()) == [stays]


@pytest.mark.parametrize("change", [{"url": "http://127.0.0.1:1009"}, {"engine": Engine.TGI}])
def test_another_server_under_the_same_name_is_another_row(change: dict[str, object]) -> None:
    table = Table(make_config(A))
    (old,) = healthy(table)
    config = make_config(A)
    table.replace(replace(config, upstreams=(replace(config.upstreams[0], **change),)))  # type: ignore[arg-type]
    assert table.rows["a"] is not old
    assert table.rows["a"].health is Health.UNKNOWN


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_addresses_with_and_without_v1_are_the_same(url: str) -> None:
    assert Table(make_config(("a", url))).rows["a"].url == "http://h:1"


def test_a_deployments_model_is_the_engines_name_or_the_models_own() -> None:
    config = make_config(A, B)
    (model,) = config.models
    named = replace(
        model, deployments=(replace(model.deployments[0], model="engine/x", weight=2), model.deployments[1])
    )
    table = Table(replace(config, models=(named,)))
    assert [(one.model, one.weight) for one in table.deployments("m")] == [("engine/x", 2), ("m", 1.0)]
    assert table.deployments("nobody") == ()


verdicts = st.sampled_from(Verdict)


@given(steps=st.lists(st.tuples(st.sampled_from(["take", "give", "again", "reload"]), st.integers(0, 9), verdicts)))
def test_load_is_the_number_of_open_tickets_whatever_happens(steps: list[tuple[str, int, Verdict]]) -> None:
    table = Table(make_config(A, B))
    open_tickets: list[Ticket] = []
    closed: list[Ticket] = []
    now = 0.0
    for what, pick, verdict in steps:
        now += 100.0
        rows = list(table.rows.values())
        if what == "take" and rows[pick % len(rows)].breaker.admits(now):
            open_tickets.append(table.take(place(table, rows[pick % len(rows)]), now=now))
        elif what == "give" and open_tickets:
            closed.append(open_tickets.pop(pick % len(open_tickets)))
            table.give_back(closed[-1], verdict, now=now, rng=half)
        elif what == "again" and closed:
            table.give_back(closed[pick % len(closed)], verdict, now=now, rng=half)
        elif what == "reload":
            table.replace(make_config(*[(A, B), (A,), (B,), (A, ("b", f"http://h:{pick}"))][pick % 4]))
        assert sum(row.in_flight for row in table.everywhere()) == len(open_tickets)
        assert all(row.in_flight >= 0 for row in table.everywhere())
        assert all(row.breaker.state in BreakerState for row in table.everywhere())
