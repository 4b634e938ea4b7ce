"""Decides how a service is, from the checks it depends on. Pure: values in, a verdict out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from citadel_edge.config.shape import ListenerName


class Status(StrEnum):
    """How a service is: healthy and degraded serve (200), unhealthy does not (503)."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Condition(StrEnum):
    """How one dependency is."""

    UP = "up"
    PARTIAL = "partial"
    DOWN = "down"
    UNKNOWN = "unknown"
    ABSENT = "absent"


class Impact(StrEnum):
    """What a dependency that is not up does to the service."""

    NONE = "none"
    DEGRADES = "degrades"
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Check:
    """What was last seen of a dependency. `detail` is free of secrets; `latency_ms` is null where nothing was asked."""

    condition: Condition
    detail: str
    latency_ms: float | None = None


class ListenerState(StrEnum):
    """Whether a listener takes work."""

    RUNNING = "running"
    STOPPED = "stopped"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Words:
    """A service's name in sentences, and what it says when all is well (PRODUCT contract, to the letter)."""

    subject: str
    healthy: str


WORDS: Mapping[ListenerName, Words] = {
    ListenerName.GRAPHQL: Words("GraphQL API", "GraphQL API healthy with schema loaded"),
    ListenerName.STREAMING: Words("Streaming service", "Streaming service healthy with WebSocket and SSE enabled"),
    ListenerName.ROUTING: Words("Routing service", "Routing service healthy with load balancing and circuit breakers"),
    ListenerName.RATE_LIMITING: Words("Rate limiting service", "Rate limiting service healthy with Redis connected"),
}

# What the loss of a dependency does to each service; what is not named here has no impact.
IMPACTS: Mapping[ListenerName, Mapping[str, Impact]] = {
    ListenerName.GRAPHQL: {
        "schema": Impact.FAILS,
        "postgres": Impact.DEGRADES,
        "accounts": Impact.DEGRADES,
        "upstreams": Impact.DEGRADES,
        "ledger": Impact.DEGRADES,
    },
    ListenerName.STREAMING: {
        "postgres": Impact.DEGRADES,
        "accounts": Impact.DEGRADES,
        "upstreams": Impact.DEGRADES,
        "ledger": Impact.DEGRADES,
    },
    ListenerName.ROUTING: {
        "postgres": Impact.DEGRADES,
        "accounts": Impact.DEGRADES,
        "upstreams": Impact.FAILS,
        "ledger": Impact.DEGRADES,
    },
    ListenerName.RATE_LIMITING: {
        "redis": Impact.DEGRADES,
        "postgres": Impact.DEGRADES,
        "accounts": Impact.DEGRADES,
        "limits": Impact.DEGRADES,
    },
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A service's health as `/health` tells it."""

    service: ListenerName
    status: Status
    message: str
    checks: Mapping[str, Check] = field(default_factory=dict)

    @property
    def http_status(self) -> int:
        """200 while it serves, 503 when it does not."""
        return 503 if self.status is Status.UNHEALTHY else 200


def judge(service: ListenerName, checks: Mapping[str, Check], state: ListenerState) -> Verdict:
    """The verdict on a service: the worst impact among its checks that are not up."""
    words = WORDS[service]
    if state is not ListenerState.RUNNING:
        return Verdict(service, Status.UNHEALTHY, f"{words.subject} {state.value}", checks)
    harms = {name: _harm(IMPACTS[service].get(name, Impact.NONE), check) for name, check in checks.items()}
    status = _worst(harms)
    if status is Status.HEALTHY:
        return Verdict(service, status, words.healthy, checks)
    reasons = "; ".join(f"{name}: {checks[name].detail}" for name, harm in harms.items() if harm is not Impact.NONE)
    return Verdict(service, status, f"{words.subject} {status.value}: {reasons}", checks)


def as_json(verdict: Verdict, *, version: str, uptime_s: float) -> dict[str, Any]:
    """The body of `/health`."""
    return {
        "status": verdict.status.value,
        "service": verdict.service.value,
        "message": verdict.message,
        "version": version,
        "uptime_s": round(uptime_s, 3),
        "checks": {
            name: {"status": check.condition.value, "detail": check.detail, "latency_ms": check.latency_ms}
            for name, check in verdict.checks.items()
        },
    }


def _harm(impact: Impact, check: Check) -> Impact:
    """A part that is partly up can degrade, never fail, its service."""
    if check.condition in (Condition.UP, Condition.ABSENT) or impact is Impact.NONE:
        return Impact.NONE
    return Impact.DEGRADES if check.condition is Condition.PARTIAL else impact


def _worst(harms: Mapping[str, Impact]) -> Status:
    if Impact.FAILS in harms.values():
        return Status.UNHEALTHY
    return Status.DEGRADED if Impact.DEGRADES in harms.values() else Status.HEALTHY
