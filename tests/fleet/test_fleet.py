"""Who is told of a change."""

import math
from collections.abc import Callable

import pytest

from citadel_edge.config.shape import Engine
from citadel_edge.errors import UpstreamError, UpstreamFault
from citadel_edge.fleet.breaker import BreakerState
from citadel_edge.fleet.engines.facts import Facts
from citadel_edge.fleet.fleet import Fleet
from citadel_edge.fleet.gauges import Reading
from citadel_edge.fleet.metrics import imbalance
from citadel_edge.fleet.table import Health, Row, RowState, Verdict
from citadel_edge.telemetry.hub import Topic
from fleet.rig import Rig, make_config, make_rig, place

A, B = ("a", "http://127.0.0.1:1001"), ("b", "http://127.0.0.1:1002")


@pytest.fixture
def rig() -> Rig:
    return make_rig(make_config(A, B))


@pytest.fixture
def row(rig: Rig) -> Row:
    return rig.fleet.table.rows["a"]


def test_a_health_change_is_told_once_to_hub_log_and_metric(rig: Rig, row: Row) -> None:
    for _ in range(3):
        rig.fleet.probe_succeeded(row, "ok")
    rig.fleet.suspect(row, "connection refused")
    told = [message.payload for message in rig.hub.last(Topic.HEALTH, 9)]
    assert [(one["upstream"], one["was"], one["health"]) for one in told] == [
        ("a", "unknown", "healthy"),
        ("a", "healthy", "unhealthy"),
    ]
    assert told[1]["detail"] == "connection refused"
    assert [level for level, _, _ in rig.log.lines] == ["info", "warning"]
    assert rig.metric("citadel_upstream_healthy", upstream="a") == 0


def test_a_breakers_changes_are_told_to_hub_log_and_metric(rig: Rig, row: Row) -> None:
    for _ in range(5):
        rig.fleet.give_back(rig.fleet.take(place(rig, "a")), Verdict.FAULT)
    assert rig.metric("citadel_breaker_state", breaker="a") == 2
    row.breaker.retry_at = 0.0
    rig.fleet.give_back(rig.fleet.take(place(rig, "a")), Verdict.OK)
    told = [message.payload for message in rig.hub.last(Topic.BREAKERS, 9)]
    assert [(one["was"], one["state"]) for one in told] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    assert told[0]["retry_in_s"] == pytest.approx(3.75, abs=1)
    assert told[2]["retry_in_s"] is None
    assert [level for level, _, _ in rig.log.lines] == ["warning", "info", "info"]
    for state in ("open", "half_open", "closed"):
        assert rig.metric("citadel_breaker_changes_total", breaker="a", state=state) == 1


def test_a_probes_first_token_closes_a_breaker_and_wakes_who_waits(rig: Rig, row: Row) -> None:
    for _ in range(5):
        rig.fleet.give_back(rig.fleet.take(place(rig, "a")), Verdict.FAULT)
    row.breaker.retry_at = 0.0
    ticket = rig.fleet.take(place(rig, "a"))
    woken: list[bool] = []
    rig.fleet.watch_capacity(lambda: woken.append(place(rig, "a").admits(rig.clock.monotonic_s())))
    rig.fleet.first_token(ticket)
    rig.fleet.first_token(ticket)
    assert woken == [True]
    assert rig.hub.last(Topic.BREAKERS, 1)[0].payload["state"] == "closed"
    assert rig.metric("citadel_breaker_state", breaker="a") == 0


def test_load_shows_at_once(rig: Rig) -> None:
    ticket = rig.fleet.take(place(rig, "a"))
    assert rig.metric("citadel_upstream_in_flight", upstream="a") == 1
    rig.fleet.give_back(ticket, Verdict.NONE)
    rig.fleet.give_back(ticket, Verdict.NONE)
    assert rig.metric("citadel_upstream_in_flight", upstream="a") == 0


def test_metrics_follow_the_configuration(rig: Rig) -> None:
    rig.metrics.probed("a", 0.1)
    for _ in range(5):
        rig.fleet.give_back(rig.fleet.take(place(rig, "a")), Verdict.FAULT)
    changes: list[str] = []
    rig.fleet.watch(lambda: changes.append("changed"))
    rig.config.replace(make_config(B, ("c", "http://127.0.0.1:1003")))
    assert changes == ["changed"]
    assert rig.metric("citadel_upstream_healthy", upstream="a") is None
    assert rig.metric("citadel_breaker_changes_total", breaker="a", state="open") is None
    assert rig.metric("citadel_upstream_probe_seconds_count", upstream="a") is None
    assert rig.metric("citadel_upstream_healthy", upstream="c") == 0
    rig.config.replace(make_config())
    assert rig.metric("citadel_upstream_healthy", upstream="c") is None


def test_a_row_that_left_tells_no_more_of_its_health(rig: Rig, row: Row) -> None:
    rig.config.replace(make_config(B))
    rig.fleet.suspect(row, "refused")
    assert rig.hub.last(Topic.HEALTH, 9) == []


def test_no_secret_stands_in_a_rows_text(row: Row) -> None:
    assert "'key'" not in repr(row)


def test_what_an_operator_does_to_a_breaker_is_told_with_its_source(rig: Rig, row: Row) -> None:
    rig.fleet.trip("a", source="ann")
    assert not row.breaker.admits(1e12)
    rig.fleet.reset("a", source="bob")
    rig.fleet.reset("a", source="bob")
    told = [message.payload for message in rig.hub.last(Topic.BREAKERS, 9)]
    assert [(one["state"], one["source"], one["retry_in_s"]) for one in told] == [
        ("open", "ann", None),
        ("closed", "bob", None),
    ]
    assert row.breaker.source == "bob"
    assert rig.metric("citadel_breaker_changes_total", breaker="a", state="open") == 1


def test_what_an_operator_does_to_a_row_is_told_with_its_source(rig: Rig, row: Row) -> None:
    rig.fleet.set_row("a", weight=0.5, state=RowState.DRAINING, source="ann")
    assert (row.weight, row.state, row.source) == (0.5, RowState.DRAINING, "ann")
    (message,) = rig.hub.last(Topic.HEALTH, 9)
    assert message.payload == {
        "upstream": "a",
        "health": "unknown",
        "state": "draining",
        "weight": 0.5,
        "source": "ann",
    }
    assert rig.metric("citadel_upstream_edits_total", upstream="a") == 1
    assert rig.metric("citadel_upstream_active", upstream="a") == 0


@pytest.mark.parametrize("act", [Fleet.trip, Fleet.reset])
def test_a_breaker_that_is_not_there_is_a_key_error(rig: Rig, act: Callable[..., None]) -> None:
    with pytest.raises(KeyError):
        act(rig.fleet, "nobody", source="ann")


def test_a_trip_refused_by_the_cap_is_told_once(rig: Rig) -> None:
    for name in ("a", "b"):
        rig.fleet.probe_succeeded(rig.fleet.table.rows[name], "ok")
    for name in ("a", "b"):
        for _ in range(5):
            rig.fleet.give_back(rig.fleet.take(place(rig, name)), Verdict.FAULT)
    rig.fleet.give_back(rig.fleet.take(place(rig, "b")), Verdict.FAULT)
    assert rig.fleet.table.rows["b"].breaker.state is BreakerState.CLOSED
    assert rig.metric("citadel_breaker_capped_total", breaker="b") == 1
    assert rig.metric("citadel_breaker_capped_total", breaker="a") is None
    assert [line[1] for line in rig.log.lines].count("breaker stays closed: too many others are open") == 1
    assert [message.payload["breaker"] for message in rig.hub.last(Topic.BREAKERS, 9)] == ["a"]


def test_a_breaker_of_a_row_that_left_tells_nothing(rig: Rig) -> None:
    tickets = [rig.fleet.take(place(rig, "a")) for _ in range(5)]
    rig.config.replace(make_config(B))
    for ticket in tickets:
        rig.fleet.give_back(ticket, Verdict.FAULT)
    assert rig.hub.last(Topic.BREAKERS, 9) == []
    assert rig.metric("citadel_breaker_changes_total", breaker="a", state="open") is None


def test_capacity_is_told_of_whatever_may_have_freed_a_place(rig: Rig, row: Row) -> None:
    told: list[str] = []
    rig.fleet.watch_capacity(lambda: told.append("told"))

    def tells(act: Callable[[], object]) -> bool:
        told.clear()
        act()
        return bool(told)

    ticket = rig.fleet.take(place(rig, "a"))
    assert not told
    assert tells(lambda: rig.fleet.give_back(ticket, Verdict.NONE))
    assert not tells(lambda: rig.fleet.give_back(ticket, Verdict.NONE))
    assert tells(lambda: rig.fleet.probe_succeeded(row, "ok"))
    assert not tells(lambda: rig.fleet.probe_succeeded(row, "ok"))
    assert not tells(lambda: rig.fleet.suspect(row, "refused"))
    assert tells(lambda: rig.fleet.set_row("a", weight=None, state=RowState.ACTIVE, source="ann"))
    assert not tells(lambda: rig.fleet.trip("a", source="ann"))
    assert tells(lambda: rig.fleet.reset("a", source="ann"))
    assert not tells(lambda: rig.fleet.learn(row, Facts(slots=2)))
    assert tells(lambda: rig.fleet.learn(row, Facts(slots=3)))
    assert tells(lambda: rig.config.replace(make_config(A, B)))


def test_calls_of_a_row_that_died_are_told_once_and_only_where_somebody_else_is(rig: Rig, row: Row) -> None:
    rig.fleet.probe_succeeded(row, "ok")
    silent, spoke = rig.fleet.take(place(rig, "a")), rig.fleet.take(place(rig, "a"))
    told: list[UpstreamError] = []
    silent.on_lost = spoke.on_lost = told.append
    began = rig.clock.monotonic_s()
    spoke.last_byte_at = began + 60
    for _ in range(3):
        rig.fleet.probe_failed(row, "no answer within 0.75 s", at_once=False, asked=began - 2)
    assert told == []
    rig.fleet.probe_succeeded(rig.fleet.table.rows["b"], "ok")
    for _ in range(3):
        rig.fleet.probe_failed(row, "no answer within 0.75 s", at_once=False, asked=began - 2)
    assert [error.fault for error in told] == [UpstreamFault.LOST]
    assert silent.open
    assert row.in_flight == 2


def test_a_refusal_alone_leaves_its_calls_a_moments_grace(rig: Rig, row: Row) -> None:
    rig.fleet.probe_succeeded(row, "ok")
    ticket = rig.fleet.take(place(rig, "a"))
    told: list[UpstreamError] = []
    ticket.on_lost = told.append
    rig.fleet.suspect(row, "connection refused")
    assert row.health is Health.UNHEALTHY
    assert told == []


def test_the_metrics_show_load_slots_speed_and_imbalance(rig: Rig, row: Row) -> None:
    for name in ("a", "b"):
        rig.fleet.probe_succeeded(rig.fleet.table.rows[name], "ok")
    ticket = rig.fleet.take(place(rig, "a"), tokens_in=100, tokens_out=20, expected_s=0.0)
    rig.fleet.scraped(row, Reading(7, 2, 0.9), own_in_flight=1)
    shown = {
        name: rig.metric(f"citadel_upstream_{name}", upstream="a")
        for name in "in_flight reserved_tokens prefilling_tokens running waiting kv_usage slots warmth active".split()
    }
    assert shown == {
        "in_flight": 1,
        "reserved_tokens": 120,
        "prefilling_tokens": 100,
        "running": 7,
        "waiting": 2,
        "kv_usage": 0.9,
        "slots": 256,
        "warmth": 1,
        "active": 1,
    }
    assert rig.metric("citadel_upstream_foreign_requests", upstream="a") == pytest.approx(8, rel=0.2)
    assert rig.metric("citadel_upstream_kv_pressure", upstream="a") == pytest.approx(1.5, rel=0.1)
    assert rig.metric("citadel_load_imbalance", model="m") == 2
    rig.fleet.first_token(ticket)
    estimate = rig.metric("citadel_upstream_ttft_estimate_seconds", upstream="a")
    assert estimate is not None
    assert estimate > 0
    rig.fleet.give_back(ticket, Verdict.OK, tokens_out=5)
    assert rig.metric("citadel_load_imbalance", model="m") == 1
    rig.config.replace(make_config())
    assert rig.metric("citadel_load_imbalance", model="m") is None
    assert rig.metric("citadel_upstream_slots", upstream="a") is None


def test_the_imbalance_weighs_and_leaves_out_who_is_not_used(rig: Rig, row: Row) -> None:
    places = rig.fleet.table.deployments("m")
    assert imbalance(places) == 1.0
    for name in ("a", "b"):
        rig.fleet.probe_succeeded(rig.fleet.table.rows[name], "ok")
    row.weight, row.in_flight, rig.fleet.table.rows["b"].in_flight = 3.0, 6, 2
    assert imbalance(places) == 1.0
    row.in_flight = 12
    assert imbalance(places) == pytest.approx(4 / 3)
    row.state = RowState.DRAINING
    assert imbalance(places) == 1.0


@pytest.mark.parametrize(
    ("engine", "facts", "warns"),
    [
        (Engine.OLLAMA, Facts(), 1),
        (Engine.LLAMACPP, Facts(slots=1), 0),
        (Engine.LLAMACPP, Facts(), 1),
        (Engine.VLLM, Facts(), 0),
    ],
)
def test_one_slot_because_nobody_said_otherwise_is_warned_of_once(engine: Engine, facts: Facts, warns: int) -> None:
    rig = make_rig(make_config(A, engine=engine))
    row = rig.fleet.table.rows["a"]
    rig.fleet.probe_succeeded(row, "ok")
    rig.fleet.learn(row, facts)
    for _ in range(3):
        rig.fleet.probe_succeeded(row, "ok")
    warned = [fields for level, _, fields in rig.log.lines if level == "warning"]
    assert warned == [{"upstream": "a", "engine": engine.value, "setting": "upstreams[a].slots"}] * warns


def test_the_share_of_failures_of_late_and_failed_probes_in_a_row_are_shown(rig: Rig, row: Row) -> None:
    now = rig.clock.monotonic_s()
    assert row.breaker.error_rate(now) is None
    assert math.isnan(rig.metric("citadel_upstream_error_ratio", upstream="a") or 0.0)
    for verdict in (Verdict.OK, Verdict.OK, Verdict.OK, Verdict.FAULT, Verdict.NONE, Verdict.BUSY):
        rig.fleet.give_back(rig.fleet.take(place(rig, "a")), verdict)
    assert rig.metric("citadel_upstream_error_ratio", upstream="a") == 0.25
    assert row.breaker.error_rate(now + 60) is None
    rig.fleet.probe_failed(row, "silent", at_once=False, asked=now)
    assert rig.metric("citadel_upstream_probe_failures", upstream="a") == 1
