"""The table: what taking, giving back, probing and reloading do to the rows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import Config, DeploymentConfig, Engine, ModelConfig, Secret, UpstreamConfig
from citadel_edge.fleet import vitals
from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.fleet.engines.facts import Facts
from citadel_edge.fleet.table import BreakerEvent, Deployment, Health, Row, RowState, Scope, Table, Ticket, Verdict
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


def with_models(*models: str, upstreams: int = 2, slots: int | None = None) -> Config:
    names = [f"u{n}" for n in range(upstreams)]
    return Config(
        upstreams=tuple(UpstreamConfig(id=n, url=f"http://h:1/{n}", engine=Engine.VLLM, slots=slots) for n in names),
        models=tuple(
            ModelConfig(name=model, deployments=tuple(DeploymentConfig(upstream=n) for n in names)) for model in models
        ),
    )


def faults(table: Table, place: Deployment, count: int, *, scope: Scope = Scope.UPSTREAM) -> list[BreakerEvent]:
    events: list[BreakerEvent] = []
    for _ in range(count):
        if not place.admits(0.0):
            break
        ticket = table.take(place, now=0.0)
        events += table.give_back(ticket, Verdict.FAULT, now=0.0, rng=half, scope=scope)
    return events


def test_tokens_are_counted_until_the_first_token_and_until_the_end() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    first = table.take(place(table, row), now=0.0, tokens_in=100, tokens_out=50)
    second = table.take(place(table, row), now=0.0, tokens_in=10, tokens_out=5)
    assert (first.prefilling_tokens, first.load, second.prefilling_tokens, second.load) == (0, 1, 100, 2)
    assert (row.prefilling_tokens, row.reserved_tokens) == (110, 165)
    for _ in range(2):
        table.first_token(first, now=1.0)
    assert (row.prefilling_tokens, row.reserved_tokens, first.first_token_at) == (10, 165, 1.0)
    table.give_back(first, Verdict.OK, now=2.0, rng=half, tokens_out=7)
    assert (row.prefilling_tokens, row.reserved_tokens) == (10, 15)
    table.give_back(second, Verdict.NONE, now=2.0, rng=half)
    table.first_token(second, now=3.0)
    assert (row.prefilling_tokens, row.reserved_tokens, row.calls) == (0, 0, set())


def test_calls_teach_the_row_its_speed_and_failures_weigh_on_it() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    assert not row.signals.known
    ticket = table.take(place(table, row), now=0.0, tokens_in=100, tokens_out=50)
    table.first_token(ticket, now=0.5)
    assert row.signals.known
    table.give_back(ticket, Verdict.OK, now=1.5, rng=half, tokens_out=11)
    assert row.signals.predict_ttft_s(tokens_in=100, prefilling_tokens=0, load=1) == pytest.approx(0.5, rel=0.2)
    assert row.signals.predict_token_s(load=1) == pytest.approx(0.1, rel=0.2)
    table.give_back(table.take(place(table, row), now=2.0), Verdict.FAULT, now=2.0, rng=half)
    assert row.signals.penalty_s(2.0) == 5.0


def test_an_answer_in_one_piece_teaches_when_its_tokens_are_known() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    table.give_back(table.take(place(table, row), now=0.0), Verdict.OK, now=9.0, rng=half)
    assert not row.signals.known
    table.give_back(table.take(place(table, row), now=0.0), Verdict.OK, now=9.0, rng=half, tokens_out=10)
    assert row.signals.known


def test_a_row_is_full_when_its_slots_are_taken() -> None:
    table = Table(with_models("m", upstreams=1, slots=2))
    (row,) = healthy(table)
    tickets = [table.take(place(table, row), now=0.0) for _ in range(2)]
    assert (row.full(0.0), row.cooling(0.0), row.available(0.0)) == (True, False, False)
    assert row.usable(0.0)
    table.give_back(tickets[0], Verdict.NONE, now=0.0, rng=half)
    assert row.available(0.0)


def test_slots_are_as_configured_else_as_learned_else_the_engines() -> None:
    table = Table(with_models("m", upstreams=1))
    (row,) = table.rows.values()
    assert row.slots == 256
    table.learn(row, Facts(slots=7, contexts={"m": 100}))
    assert (row.slots, row.context_tokens) == (7, {"m": 100})
    table.learn(row, Facts())
    assert row.slots == 7
    table.replace(with_models("m", upstreams=1, slots=3))
    table.learn(row, Facts(slots=9))
    assert row.slots == 3
    table.replace(with_models("m", upstreams=1))
    assert row.slots == 9


def test_a_context_of_any_name_is_that_of_the_rows_deployments() -> None:
    table = Table(with_models("m", "n"))
    row, other = table.rows.values()
    table.learn(row, Facts(any_context=2048, sleeping=True))
    assert row.context_tokens == {"m": 2048, "n": 2048}
    assert other.context_tokens == {}
    assert row.warmth(0.0) == 0.1
    table.learn(row, Facts(sleeping=False))
    assert row.warmth(0.0) == 1.0


def test_a_recovered_row_starts_slowly_and_one_that_was_there_from_the_start_does_not() -> None:
    table = Table(make_config(A))
    (row,) = table.rows.values()
    table.probe_succeeded(row, "ok", now=100.0)
    assert row.warmth(100.0) == 1.0
    table.probe_failed(row, "refused", at_once=True)
    table.probe_succeeded(row, "ok", now=200.0)
    assert [row.warmth(200.0 + later) for later in (0, 5, 10, 99)] == pytest.approx([0.1, 0.55, 1.0, 1.0])
    table.replace(make_config(A, B))
    table.probe_succeeded(table.rows["b"], "ok", now=300.0)
    assert table.rows["b"].warmth(300.0) == pytest.approx(0.1)


def test_a_stall_is_the_time_past_what_was_predicted() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    assert row.stalled_s(99.0) == 0.0
    endless = table.take(place(table, row), now=0.0)
    assert row.stalled_s(99.0) == 0.0
    slow = table.take(place(table, row), now=0.0, expected_s=5.0)
    quick = table.take(place(table, row), now=1.0, expected_s=0.5)
    assert (row.stalled_s(1.0), row.stalled_s(4.5)) == (0.0, 3.0)
    table.first_token(quick, now=4.5)
    assert row.stalled_s(7.0) == 2.0
    for ticket in (endless, slow, quick):
        table.give_back(ticket, Verdict.NONE, now=7.0, rng=half)
    assert row.stalled_s(99.0) == 0.0


def test_only_an_upstream_of_several_models_has_breakers_of_models() -> None:
    assert list(Table(with_models("m")).breakers) == ["u0", "u1"]
    table = Table(with_models("m", "n"))
    assert list(table.breakers) == ["u0", "u1", "u0:m", "u1:m", "u0:n", "u1:n"]
    entry = table.breakers["u1:n"]
    assert (entry.upstream, entry.model) == ("u1", "n")
    assert entry.breaker is table.deployments("n")[1].breaker


def test_a_fault_of_the_model_shuts_the_model_there_and_nothing_else() -> None:
    table = Table(with_models("m", "n"))
    healthy(table)
    bad, good = table.deployments("m")
    events = faults(table, bad, 5, scope=Scope.MODEL)
    assert [(event.breaker, event.change.new) for event in events] == [("u0:m", BreakerState.OPEN)]
    assert not bad.admits(0.0)
    assert good.admits(0.0)
    assert table.deployments("n")[0].admits(0.0)
    assert bad.row.breaker.failures == 0
    with pytest.raises(ValueError, match="admit no call"):
        table.take(bad, now=0.0)
    assert bad.row.in_flight == 0


def test_a_fault_of_the_model_is_the_upstreams_where_it_serves_no_other() -> None:
    table = Table(with_models("m"))
    healthy(table)
    events = faults(table, table.deployments("m")[0], 5, scope=Scope.MODEL)
    assert [event.breaker for event in events] == ["u0"]


def test_both_breakers_of_a_call_go_half_open_and_close_together() -> None:
    table = Table(with_models("m", "n"))
    row, _ = healthy(table)
    bad = table.deployments("m")[0]
    faults(table, bad, 5, scope=Scope.MODEL)
    faults(table, table.deployments("n")[0], 5)
    assert bad.breaker is not None
    assert (row.breaker.state, bad.breaker.state) == (BreakerState.OPEN, BreakerState.OPEN)
    ticket = table.take(bad, now=10.0)
    assert [event.breaker for event in ticket.events] == ["u0", "u0:m"]
    assert not bad.admits(10.0)
    events = table.give_back(ticket, Verdict.OK, now=11.0, rng=half)
    assert [(event.breaker, event.change.new) for event in events] == [
        ("u0", BreakerState.CLOSED),
        ("u0:m", BreakerState.CLOSED),
    ]


def test_a_probes_first_token_closes_both_and_its_later_failure_counts_as_one_of_five() -> None:
    table = Table(with_models("m", "n"))
    row, _ = healthy(table)
    bad = table.deployments("m")[0]
    faults(table, bad, 5, scope=Scope.MODEL)
    faults(table, table.deployments("n")[0], 5)
    ticket = table.take(bad, now=10.0)
    events = table.first_token(ticket, now=10.5)
    assert [(event.breaker, event.change.new) for event in events] == [
        ("u0", BreakerState.CLOSED),
        ("u0:m", BreakerState.CLOSED),
    ]
    assert bad.admits(10.5)
    assert table.first_token(ticket, now=10.6) == ()
    assert table.give_back(ticket, Verdict.FAULT, now=60.0, rng=half) == ()
    assert (row.breaker.state, row.breaker.failures) == (BreakerState.CLOSED, 1)
    assert [event.change.new for event in faults(table, bad, 4)] == [BreakerState.OPEN]


@pytest.mark.parametrize("verdict", [Verdict.BUSY, Verdict.NONE])
def test_a_probe_that_ends_without_a_fault_frees_both_places(verdict: Verdict) -> None:
    table = Table(with_models("m", "n"))
    healthy(table)
    bad = table.deployments("m")[0]
    faults(table, bad, 5, scope=Scope.MODEL)
    faults(table, table.deployments("n")[0], 5)
    table.give_back(table.take(bad, now=10.0, panic=True), Verdict.NONE, now=10.0, rng=half)
    table.give_back(table.take(bad, now=10.0), verdict, now=10.0, rng=half)
    assert bad.admits(10.0)


@pytest.mark.parametrize(("upstreams", "most"), [(1, 1), (2, 1), (9, 1), (19, 1), (20, 2), (35, 3)])
def test_at_most_one_in_ten_is_left_alone_by_what_calls_say(upstreams: int, most: int) -> None:
    table = Table(with_models("m", upstreams=upstreams))
    healthy(table)
    capped = [event for place in table.deployments("m") for event in faults(table, place, 9) if event.change.capped]
    assert sum(row.breaker.state is BreakerState.OPEN for row in table.rows.values()) == most
    assert len(capped) == upstreams - most
    assert sum(row.available(0.0) for row in table.rows.values()) == upstreams - most


def test_rows_that_are_out_anyway_make_no_room_for_others() -> None:
    table = Table(with_models("m", upstreams=20))
    rows = healthy(table)
    for row in rows[:11]:
        table.probe_failed(row, "refused", at_once=True)
    rows[11].breaker.trip("ann")
    for place in table.deployments("m")[12:]:
        faults(table, place, 5)
    assert sum(row.breaker.state is BreakerState.OPEN and not row.breaker.held for row in rows) == 1


def test_a_model_too_keeps_nine_in_ten_of_its_places() -> None:
    table = Table(with_models("m", "n", upstreams=4))
    healthy(table)
    for place in table.deployments("m"):
        faults(table, place, 5, scope=Scope.MODEL)
    assert [place.admits(0.0) for place in table.deployments("m")] == [False, True, True, True]


def test_a_panic_enters_an_open_breaker_but_not_an_operators() -> None:
    table = Table(with_models("m"))
    row, held = healthy(table)
    faults(table, place(table, row), 5)
    ticket = table.take(place(table, row), now=0.0, panic=True)
    (event,) = table.give_back(ticket, Verdict.OK, now=0.0, rng=half)
    assert event.change.new is BreakerState.CLOSED
    held.breaker.trip("ann")
    with pytest.raises(ValueError, match="admit"):
        table.take(place(table, held), now=0.0, panic=True)
    assert (held.in_flight, held.calls) == (0, set())


def test_neither_breaker_moves_when_an_operator_holds_the_other() -> None:
    table = Table(with_models("m", "n"))
    row, _ = healthy(table)
    where = table.deployments("m")[0]
    faults(table, where, 5)
    assert where.breaker is not None
    where.breaker.trip("ann")
    with pytest.raises(ValueError, match="operator"):
        table.take(where, now=99.0, panic=True)
    assert row.breaker.state is BreakerState.OPEN


def test_a_row_that_answers_again_is_asked_at_once() -> None:
    table = Table(with_models("m", "n"))
    row, _ = healthy(table)
    where = table.deployments("m")[0]
    faults(table, where, 5, scope=Scope.MODEL)
    faults(table, table.deployments("n")[0], 5)
    table.probe_failed(row, "refused", at_once=True)
    assert not where.admits(1.0)
    table.probe_succeeded(row, "ok", now=1.0)
    assert where.admits(1.0)


def test_no_cooldown_lasts_longer_than_a_minute() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    table.give_back(table.take(place(table, row), now=0.0), Verdict.BUSY, now=0.0, rng=half, cooldown_s=9e9)
    assert (row.cooling(59.9), row.cooling(60.0)) == (True, False)


def test_own_breakers_and_an_operators_word_outlast_a_reload() -> None:
    table = Table(with_models("m", "n"))
    row, _ = healthy(table)
    row.state, row.weight, row.source = RowState.DRAINING, 3.0, "ann"
    table.breakers["u0:m"].breaker.trip("ann")
    table.replace(with_models("m", "n", "o"))
    assert table.breakers["u0:m"].breaker.held
    assert table.deployments("m")[0].share == 3.0
    assert table.deployments("m")[1].share == 1.0
    moved = with_models("m", "n")
    table.replace(replace(moved, upstreams=(replace(moved.upstreams[0], url="http://elsewhere:1"), moved.upstreams[1])))
    new = table.rows["u0"]
    assert new is not row
    assert (new.state, new.weight, new.source) == (RowState.DRAINING, 3.0, "ann")


def test_the_lost_are_those_that_brought_nothing_since_the_probes_fail() -> None:
    table = Table(make_config(A))
    (row,) = healthy(table)
    tickets = [table.take(place(table, row), now=0.0) for _ in range(4)]
    silent, spoke, careless, early = tickets
    for ticket in (silent, spoke, early):
        ticket.on_lost = lambda _: None
    early.last_byte_at, spoke.last_byte_at = 9.0, 10.5
    table.probe_failed(row, "silence", asked=10.0)
    assert vitals.lost(row, now=12.0) == []
    table.probe_failed(row, "silence", asked=10.8)
    assert vitals.lost(row, now=10.9) == []
    assert set(vitals.lost(row, now=11.6)) == {silent, early}
    assert set(vitals.lost(row, now=17.0)) == {silent, early, spoke}
    assert careless.on_lost is None
    table.probe_succeeded(row, "ok", now=18.0)
    assert vitals.lost(row, now=99.0) == []


verdicts = st.sampled_from(Verdict)
ops = st.sampled_from(["take", "take", "panic", "token", "give", "give", "again", "lose", "reload"])


@given(steps=st.lists(st.tuples(ops, st.integers(0, 9), verdicts, st.sampled_from(Scope)), max_size=60))
def test_everything_taken_is_given_back_once_whatever_happens(
    steps: list[tuple[str, int, Verdict, Scope]],
) -> None:
    table = Table(with_models("m", "n", slots=3))
    healthy(table)
    held: list[Ticket] = []
    closed: list[Ticket] = []
    now = 0.0
    for what, pick, verdict, scope in steps:
        now += 3.0
        places = [*table.deployments("m"), *table.deployments("n")]
        where = places[pick % len(places)]
        if what in {"take", "panic"} and (what == "panic" or where.admits(now)):
            held.append(table.take(where, now=now, tokens_in=pick, tokens_out=2 * pick, panic=what == "panic"))
        elif what == "token" and held:
            table.first_token(held[pick % len(held)], now=now)
        elif what == "give" and held:
            closed.append(held.pop(pick % len(held)))
            table.give_back(closed[-1], verdict, now=now, rng=half, scope=scope, tokens_out=pick, cooldown_s=pick)
        elif what == "again" and closed:
            ticket = closed[pick % len(closed)]
            assert table.give_back(ticket, verdict, now=now, rng=half, scope=scope, tokens_out=pick) == ()
            table.first_token(ticket, now=now)
        elif what == "lose":
            table.probe_failed(where.row, "refused", at_once=pick % 2 == 0, asked=now)
            table.probe_succeeded(where.row, "ok", now=now + 1)
        elif what == "reload":
            table.replace(
                [with_models("m", "n"), with_models("m", "n", upstreams=3), with_models("n", "m", upstreams=1)][
                    pick % 3
                ]
            )
        check(table, held)
    for ticket in held:
        table.give_back(ticket, Verdict.NONE, now=now, rng=half)
    check(table, [])
    assert table.leaving == []


def check(table: Table, held: list[Ticket]) -> None:
    """The rows' numbers are those of the tickets held, and nothing else."""
    rows = {row: [ticket for ticket in held if ticket.row is row] for row in table.everywhere()}
    assert sum(map(len, rows.values())) == len(held)
    for row, tickets in rows.items():
        assert row.in_flight == len(tickets) == len(row.calls)
        assert row.reserved_tokens == sum(ticket.tokens_in + ticket.tokens_out for ticket in tickets)
        assert row.prefilling_tokens == sum(t.tokens_in for t in tickets if t.first_token_at is None)
    for entry in table.breakers.values():
        if entry.breaker.state is BreakerState.HALF_OPEN and not held:
            assert entry.breaker.admits(0.0)


def test_calls_that_nobody_else_can_answer_are_not_lost() -> None:
    table = Table(with_models("m"))
    row, other = healthy(table)
    ticket = table.take(place(table, row), now=0.0)
    ticket.on_lost = lambda _: None
    table.probe_failed(row, "silent", asked=1.0)
    table.probe_failed(row, "silent", asked=2.0)
    assert table.lost(row, now=9.0) == [ticket]
    for close in (
        lambda: table.probe_failed(other, "refused", at_once=True),
        lambda: setattr(other, "state", RowState.DRAINING),
        lambda: other.breaker.trip("ann"),
    ):
        close()
        assert table.lost(row, now=9.0) == []
        table.probe_succeeded(other, "ok")
        other.state = RowState.ACTIVE
        other.breaker.reset("ann")
        assert table.lost(row, now=9.0) == [ticket]


def test_calls_of_a_model_that_is_served_here_alone_are_not_lost_with_those_of_another() -> None:
    config = with_models("m", "n")
    (m, n) = config.models
    table = Table(replace(config, models=(m, replace(n, deployments=n.deployments[:1]))))
    row, _ = healthy(table)
    tickets = [table.take(table.deployments(name)[0], now=0.0) for name in ("m", "n")]
    for ticket in tickets:
        ticket.on_lost = lambda _: None
    for asked in (1.0, 2.0):
        table.probe_failed(row, "silent", asked=asked)
    assert table.lost(row, now=9.0) == tickets[:1]


def test_a_row_tells_where_the_number_of_its_slots_comes_from() -> None:
    table = Table(with_models("m", upstreams=1))
    (row,) = table.rows.values()
    assert row.slots_words == "its engine's default; upstreams[u0].slots sets another number"
    table.learn(row, Facts(slots=7))
    assert row.slots_words == "as it says itself; upstreams[u0].slots sets another number"
    table.replace(with_models("m", upstreams=1, slots=3))
    assert row.slots_words == "as configured in upstreams[u0].slots"
