"""Who is told of a change."""

import pytest

from citadel_edge.fleet.table import Row, Verdict
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
