import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.shape import ListenerName
from citadel_edge.health.verdict import IMPACTS, Check, Condition, Impact, ListenerState, Status, as_json, judge

UP = Check(Condition.UP, "answers", 0.4)
DOWN = Check(Condition.DOWN, "no answer within 2 s")
ALL_UP = {"redis": UP, "postgres": UP, "upstreams": UP, "schema": UP, "ledger": UP}

HEALTHY_WORDS = {
    ListenerName.GRAPHQL: "GraphQL API healthy with schema loaded",
    ListenerName.STREAMING: "Streaming service healthy with WebSocket and SSE enabled",
    ListenerName.ROUTING: "Routing service healthy with load balancing and circuit breakers",
    ListenerName.RATE_LIMITING: "Rate limiting service healthy with Redis connected",
}


@pytest.mark.parametrize("service", list(ListenerName))
def test_a_healthy_service_says_exactly_its_sentence(service):
    verdict = judge(service, ALL_UP, ListenerState.RUNNING)
    assert (verdict.status, verdict.message, verdict.http_status) == (Status.HEALTHY, HEALTHY_WORDS[service], 200)


@pytest.mark.parametrize(
    ("service", "lost", "status"),
    [
        (ListenerName.RATE_LIMITING, "redis", Status.DEGRADED),
        (ListenerName.RATE_LIMITING, "postgres", Status.DEGRADED),
        (ListenerName.ROUTING, "upstreams", Status.UNHEALTHY),
        (ListenerName.ROUTING, "postgres", Status.DEGRADED),
        (ListenerName.ROUTING, "redis", Status.HEALTHY),
        (ListenerName.STREAMING, "upstreams", Status.DEGRADED),
        (ListenerName.GRAPHQL, "schema", Status.UNHEALTHY),
    ],
)
def test_the_loss_of_a_dependency_does_what_the_contract_says(service, lost, status):
    verdict = judge(service, {**ALL_UP, lost: DOWN}, ListenerState.RUNNING)
    assert verdict.status is status
    if status is not Status.HEALTHY:
        assert f"{lost}: no answer within 2 s" in verdict.message


@pytest.mark.parametrize("optional", ["metrics_server", "api_gateway"])
@pytest.mark.parametrize("service", list(ListenerName))
def test_a_missing_prometheus_or_gateway_degrades_nobody(service, optional):
    assert judge(service, {**ALL_UP, optional: DOWN}, ListenerState.RUNNING).status is Status.HEALTHY


def test_some_replicas_down_degrade_routing_but_do_not_fail_it():
    partial = Check(Condition.PARTIAL, "1 of 2 replicas usable")
    verdict = judge(ListenerName.ROUTING, {**ALL_UP, "upstreams": partial}, ListenerState.RUNNING)
    assert (verdict.status, verdict.http_status) == (Status.DEGRADED, 200)


@pytest.mark.parametrize("state", [ListenerState.STOPPED, ListenerState.DRAINING])
def test_a_listener_that_takes_no_work_is_not_ready(state):
    verdict = judge(ListenerName.GRAPHQL, ALL_UP, state)
    assert (verdict.http_status, verdict.message) == (503, f"GraphQL API {state.value}")


@given(
    st.dictionaries(st.sampled_from(sorted(ALL_UP)), st.sampled_from(list(Condition))),
    st.sampled_from(list(ListenerName)),
)
def test_a_service_is_as_bad_as_its_worst_dependency(conditions, service):
    checks = {name: Check(condition, condition.value) for name, condition in conditions.items()}
    verdict = judge(service, checks, ListenerState.RUNNING)
    bad = {n for n, c in conditions.items() if c not in (Condition.UP, Condition.ABSENT) and n in IMPACTS[service]}
    fatal = {n for n in bad if IMPACTS[service][n] is Impact.FAILS and conditions[n] is not Condition.PARTIAL}
    expected = Status.UNHEALTHY if fatal else Status.DEGRADED if bad else Status.HEALTHY
    assert verdict.status is expected


def test_the_body_has_the_contract_s_fields():
    body = as_json(judge(ListenerName.ROUTING, {"redis": UP}, ListenerState.RUNNING), version="1.2.3", uptime_s=4.5678)
    assert body == {
        "status": "healthy",
        "service": "routing-api",
        "message": HEALTHY_WORDS[ListenerName.ROUTING],
        "version": "1.2.3",
        "uptime_s": 4.568,
        "checks": {"redis": {"status": "up", "detail": "answers", "latency_ms": 0.4}},
    }
